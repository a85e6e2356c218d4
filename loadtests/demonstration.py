"""The demonstration repository under load: its gateway, and a person who changes things in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gateway.demo.repository import CHALLENGER, PROD, build_repository
from loadtests.gateway_process import GatewayProcess
from loadtests.repository import Clone, Commits, DidNotLand

WEIGHTS = {PROD: 70.0, CHALLENGER: 30.0}

_ESTIMATOR = '''"""The model of this branch, not yet fitted."""

from __future__ import annotations

from sklearn.ensemble import RandomForestClassifier


def build() -> RandomForestClassifier:
    return RandomForestClassifier(n_estimators={trees}, max_depth=6, random_state=0)
'''


class Demonstration:
    """A gateway on a demonstration repository in `folder`, from start to stop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def start(self) -> None:
        """Built if need be, served and ready; DidNotLand otherwise."""
        self._folder.mkdir(parents=True, exist_ok=True)
        repository = build_repository(self._folder)
        self.commits = Commits(repository)
        self.person = Person(Clone(self._folder / "person", repository))
        settings = {
            "repository": str(repository),
            "baseline": PROD,
            # A slow machine must not make fallbacks, which are users on another branch.
            "branches": {name: {"timeout": "20s"} for name in WEIGHTS},
            "poll": "500ms",
            "monitoring": {"flush": "5s"},
        }
        self.gateway = GatewayProcess(self._folder, settings)
        self.gateway.weigh(WEIGHTS)
        self.gateway.start()

    def stop(self) -> int:
        """In order; the gateway's exit code."""
        return self.gateway.stop()


class Person:
    """Somebody with a clone, who trains, commits, merges and pushes while the gateway does too."""

    def __init__(self, clone: Clone) -> None:
        self._clone = clone
        self._turn = 0

    def train(self) -> str:
        """A new model on the challenger's branch; the commit's id."""
        clone = self._clone
        clone.checkout(CHALLENGER)
        self._turn += 1
        # In each run another one than in the runs before, on the same repository.
        count = int(clone.git("rev-list", "--count", "HEAD"))
        code = _ESTIMATOR.format(trees=20 + (count + self._turn) % 40)
        (clone.folder / "src" / "estimator.py").write_text(code)
        done = subprocess.run(
            [sys.executable, "src/train.py"],
            cwd=clone.folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DidNotLand(f"training failed: {done.stderr[-500:]}")
        change = clone.commit(f"Try another forest, {self._turn}", "src", "models", "metrics")
        return clone.push(CHALLENGER, lambda: clone.git("cherry-pick", "--allow-empty", change))

    def merge(self) -> str:
        """The challenger into production, as a merge commit; its id."""
        return self._clone.merge(CHALLENGER, PROD, "Take the challenger into production")
