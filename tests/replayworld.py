"""Repositories that a gateway wrote its rows into, and what became of their branches since."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
from gitrepo import Remote, git
from running import Gateway, recorded
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from waiting import wait_until

MODEL = "models/m.joblib"
COLUMNS = ["mean radius", "mean texture", "mean perimeter"]
#: Rows of requests.
_SIZES = (1, 40, 7, 60)

#: Code of a branch that answers by the form in which an instance came, and starts in a blink.
TELLS_FORMS = """
class Model:
    feature_names_in_ = {columns}


def load(root):
    return Model()


def predict(model, instances):
    if any(one == "raise" for one in instances):
        raise RuntimeError("as it was told")
    return [f"{word} {{type(one).__name__}} {{one if isinstance(one, str) else len(one)}}"
            for one in instances]
"""


def tells_forms(word: str, columns: list[str] | None = None) -> dict[str, str]:
    """The files of a branch that answers `word` and the form of the instance."""
    return {"src/serve.py": TELLS_FORMS.format(word=word, columns=columns)}


def model_of(model: Any, columns: list[str] = COLUMNS) -> bytes:
    data = load_breast_cancer(as_frame=True)
    buffer = io.BytesIO()
    joblib.dump(model.fit(data.data[columns], data.target), buffer)
    return buffer.getvalue()


@dataclass(frozen=True)
class World:
    """A repository, the gateway that served it and is stopped, and all the rows it wrote.

    `commits` are those that answered.
    """

    remote: Remote
    gateway: Gateway
    commits: dict[str, str]
    rows: list[dict[str, str]]

    def request_of(self, **wanted: str) -> str:
        """The id of the first request that has such a row."""
        return next(
            row["request_id"]
            for row in self.rows
            if all(row[name] == value for name, value in wanted.items())
        )


def of_estimators(folder: Path) -> World:
    """`prod` and `exp` answered a thousand rows; then exp was merged, and deleted.

    `next` has another model and no traffic.
    """
    remote = Remote(folder / "project.git")
    forest = RandomForestClassifier(n_estimators=20, random_state=0)
    commits = {
        "prod": remote.commit("prod", {MODEL: model_of(LogisticRegression(max_iter=10_000))}),
        "exp": remote.commit("exp", {MODEL: model_of(forest)}, start="prod"),
    }
    weights = {name: {"weight": n, "timeout": "60s"} for name, n in (("prod", 3), ("exp", 1))}
    gateway = Gateway(folder / "g", remote, weights, salt="replay")
    try:
        gateway.start()
        rows = _written(remote, commits, _ask(gateway))
        assert gateway.stop() == 0
    finally:
        gateway.kill()
    remote.merge("exp", into="prod")
    remote.force("exp", lambda _: "")
    hasty = LogisticRegression(C=1e-3, max_iter=50)
    remote.commit("next", {MODEL: model_of(hasty)}, start="prod")
    return World(remote, gateway, commits, rows)


def _written(remote: Remote, branches: Iterable[str], count: int) -> list[dict[str, str]]:
    """The rows in git, once they are all there."""

    def all_of_them() -> list[dict[str, str]] | None:
        rows = [row for branch in branches for row in recorded(remote, branch)]
        return rows if len(rows) >= count else None

    rows = wait_until(all_of_them, 60.0)
    assert isinstance(rows, list)
    assert len(rows) == count
    return rows


def _ask(gateway: Gateway) -> int:
    """More than a thousand answered rows: requests of several, of one, named and by place.

    How many there are, with a refused one.
    """
    data = load_breast_cancer(as_frame=True).data[COLUMNS]
    taken = data.loc[data.index.repeat(2)].reset_index(drop=True)
    start = user = 0
    while start < 1060:
        rows = taken.iloc[start : start + _SIZES[user % len(_SIZES)]]
        named = user // len(_SIZES) % 2
        instances = rows.to_dict("records") if named else rows.to_numpy().tolist()
        assert gateway.predict(instances, unit=f"user-{user}").status_code == 200
        start, user = start + len(rows), user + 1
    assert gateway.predict([[1.0]], unit="wrong").status_code == 422
    return start + 1


def of_code(
    folder: Path, asked: Mapping[str, Any], monitoring: Mapping[str, Any] | None = None
) -> World:
    """`prod` answered these instances, each in a request of its unit, and shadow `dev` too.

    Then prod moved on. Its model is one of two files and names columns, and dev's none.
    """
    models = {"models/one.pkl": "one", "models/other.pkl": "other"}
    remote = Remote(folder / "project.git")
    commits = {
        "prod": remote.commit("prod", {**models, **tells_forms("prod", ["a", "b"])}),
        "dev": remote.commit("dev", tells_forms("dev")),
    }
    branches: dict[str, dict[str, Any]] = {
        "prod": {"weight": 1, "model": "models/other.pkl", "timeout": "60s"},
        "dev": {"shadow": True, "timeout": "60s"},
    }
    gateway = Gateway(folder / "g", remote, branches, monitoring=dict(monitoring or {}))
    try:
        gateway.start()
        wait_until(lambda: gateway.serving("dev"))
        answers = [gateway.predict([one], unit=unit).status_code for unit, one in asked.items()]
        wait_until(lambda: _copies(gateway) == answers.count(200))
        rows = _written(remote, commits, len(answers) + answers.count(200))
        assert gateway.stop() == 0
    finally:
        gateway.kill()
    remote.commit("prod", tells_forms("later"))
    return World(remote, gateway, commits, rows)


def _copies(gateway: Gateway) -> float:
    """How many requests dev has computed."""
    lines = gateway.get("/metrics").text.splitlines()
    ended = 'gateway_shadow_requests_total{branch="dev"'
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(ended))


def without_history(world: World, folder: Path) -> Remote:
    """A repository with the same files and rows, whose history was thrown away."""
    remote = Remote(folder / "project.git")
    git(remote.person, "fetch", "--quiet", str(world.remote.path), "prod")
    made = git(remote.person, "commit-tree", "FETCH_HEAD^{tree}", "-m", "all of it")
    git(remote.person, "push", "--quiet", "origin", f"{made}:refs/heads/prod")
    return remote
