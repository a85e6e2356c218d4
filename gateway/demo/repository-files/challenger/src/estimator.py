"""The model of this branch, not yet fitted."""

from __future__ import annotations

from sklearn.ensemble import RandomForestClassifier


def build() -> RandomForestClassifier:
    return RandomForestClassifier(n_estimators=60, max_depth=6, random_state=0)
