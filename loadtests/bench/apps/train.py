"""Train the three models of the benchmark: `python train.py FOLDER`, in any environment.

The same data and seeds everywhere; versions of scikit-learn may differ, so every environment trains
its own and says what they answer. Writes <model>.joblib and expected.json.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import joblib
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 7
MODELS = {
    "lr": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "forest": RandomForestClassifier(n_estimators=100, random_state=SEED),
    "hgb": HistGradientBoostingClassifier(random_state=SEED),
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = load_breast_cancer()
    expected = {}
    for name, model in MODELS.items():
        model.fit(data.data, data.target)
        joblib.dump(model, folder / f"{name}.joblib")
        expected[name] = model.predict_proba(data.data).tolist()
    versions = {name: version(name) for name in ("scikit-learn", "numpy")}
    # Last, and whole or not at all: its presence says that the models are there.
    beside = folder / "expected.json.new"
    beside.write_text(json.dumps({"versions": versions, "probabilities": expected}))
    beside.rename(folder / "expected.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
