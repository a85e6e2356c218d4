"""The project that is served in a soak: its branches' models, and the team that changes them."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gateway.demo.repository import git
from loadtests.repository import Clone

PROD, CANDIDATE, OWN = "prod", "forest", "own-code"
WEIGHTS = {PROD: 60.0, CANDIDATE: 25.0, OWN: 15.0}

_MODEL = "models/model.joblib"
_GOLDEN = "metrics/golden.json"
_SERVE = "src/serve.py"

_OWN_CODE = '''"""The branch's own code around its model: words, by a bound of its own."""

import joblib
import pandas

ROW_WISE = True
BOUND = {bound}


def load(root):
    return joblib.load(root / "models" / "model.joblib")


def predict(model, instances):
    names = list(model.feature_names_in_)
    rows = [[row[n] for n in names] if isinstance(row, dict) else row for row in instances]
    shares = model.predict_proba(pandas.DataFrame(rows, columns=names))[:, 1]
    return ["benign" if share > BOUND else "malignant" for share in shares.tolist()]
'''
_DOES_NOT_LOAD = """def load(root):
    raise RuntimeError("this candidate is broken")
"""


class Team:
    """People with a clone: they train, break and mend the candidate, merge it, and write code.

    Each deed returns the commit that is to serve; every model is another one than all before.
    """

    def __init__(self, clone: Clone) -> None:
        self._clone = clone

    def train(self, chance: random.Random) -> str:
        """A new forest on the candidate's branch; mends it where it was broken."""
        seed = chance.getrandbits(31)
        forest = RandomForestClassifier(n_estimators=30, max_depth=6, random_state=seed)
        files = {**_trained(forest), _SERVE: None}
        return self._commit(CANDIDATE, files, f"Try the forest of seed {seed}")

    def merge(self) -> str:
        return self._clone.merge(CANDIDATE, PROD, "Take the candidate into production")

    def rewrite(self, chance: random.Random) -> str:
        files = {_SERVE: _OWN_CODE.format(bound=round(chance.uniform(0.2, 0.8), 6))}
        return self._commit(OWN, files, "Move the bound")

    def break_candidate(self, chance: random.Random) -> str:
        """A candidate that must not serve: no model, another one than promised, or bad code."""
        mark = chance.getrandbits(31)
        content: list[dict[str, Any]] = [
            {_MODEL: b"this is no model, %d" % mark},
            {_GOLDEN: json.dumps({"instances": _rows()[:2], "predictions": [mark, mark]})},
            {_SERVE: f"{_DOES_NOT_LOAD}# {mark}\n"},
        ]
        return self._commit(CANDIDATE, chance.choice(content), "This will not work")

    def _commit(self, branch: str, files: dict[str, Any], message: str) -> str:
        def change() -> None:
            write(self._clone.folder, files)
            self._clone.commit(message, ".")

        return self._clone.push(branch, change)


def build(folder: Path) -> Path:
    """A new bare repository in `folder` with all three branches."""
    work, repository = folder / "work", folder / "repository.git"
    work.mkdir(parents=True)
    git(work, "init", "--quiet", f"--initial-branch={PROD}")
    first = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    forest = RandomForestClassifier(n_estimators=30, max_depth=6, random_state=0)
    branches: dict[str, Callable[[], dict[str, Any]]] = {
        PROD: lambda: _trained(first),
        CANDIDATE: lambda: _trained(forest),
        OWN: lambda: {_SERVE: _OWN_CODE.format(bound=0.5), _GOLDEN: None},
    }
    for branch, files in branches.items():
        if branch != PROD:
            git(work, "checkout", "--quiet", "-b", branch, PROD)
        write(work, files())
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "-m", f"Begin {branch}")
    git(folder, "clone", "--quiet", "--bare", "--no-local", str(work), str(repository))
    git(repository, "remote", "remove", "origin")
    git(repository, "config", "uploadpack.allowFilter", "true")
    git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
    return repository


def write(folder: Path, files: dict[str, Any]) -> None:
    """Write the files; None deletes."""
    for name, content in files.items():
        path = folder / name
        if content is None:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def _trained(model: Any) -> dict[str, Any]:
    """The files of a branch with this model, fitted, and rows that it must answer in this way."""
    data = load_breast_cancer(as_frame=True)
    model.fit(data.data, data.target)
    golden = {
        "instances": _rows()[:3],
        "predictions": model.predict(data.data.iloc[:3]).tolist(),
        "tolerance": 1e-9,
    }
    content = io.BytesIO()
    joblib.dump(model, content)
    return {_MODEL: content.getvalue(), _GOLDEN: json.dumps(golden)}


def _rows() -> list[list[float]]:
    rows: list[list[float]] = load_breast_cancer().data.tolist()
    return rows
