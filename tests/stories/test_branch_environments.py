"""Branches that bring their own libraries, side by side in one gateway."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until
from wheelhouse import Wheelhouse

from gateway.environments.uv import find_uv

_OWN: Mapping[str, Any] = {"weight": 1, "environment": "branch"}
_SAYS = """
import importlib.util
def predict(model, rows):
    import scorer
    return [[scorer.NUMBER, importlib.util.find_spec("sklearn") is not None] for _ in rows]
"""
#: One that numpy 1 was current for, and one of numpy 2.
_TRAINED_BY = {
    "older": ("scikit-learn==1.5.2", "numpy==1.26.4"),
    "newer": ("scikit-learn==1.7.2", "numpy==2.2.6"),
}
_TRAIN = """
import sys, joblib
from sklearn.linear_model import LogisticRegression
joblib.dump(LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]), sys.argv[1])
"""


def answered_by(gateway: Gateway, branches: set[str]) -> dict[str, Any]:
    """A prediction of each branch, by asking as ever other users."""
    found: dict[str, Any] = {}
    for number in range(200):
        answer = gateway.predict([[2.9]], f"user-{number}")
        assert answer.status_code == 200, answer.text
        found[answer.headers["Gateway-Branch"]] = answer.json()["predictions"][0]
        if found.keys() >= branches:
            return found
    raise AssertionError(f"only these answered: {found}")


def test_a_restart_and_a_failed_build_keep_what_serves(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    wheels = Wheelhouse(tmp_path / "wheels")
    one, two = (wheels.add("scorer", f"{n}.0", f"NUMBER = {n}") for n in (1, 2))
    remote.commit("prod", serve_py("prod"))
    remote.commit("older", {"src/serve.py": _SAYS, "requirements.txt": one})
    remote.commit("newer", {"src/serve.py": _SAYS, "requirements.txt": two})
    branches: dict[str, Mapping[str, Any]] = {
        "prod": {"weight": 1},
        "older": _OWN,
        "newer": _OWN,
    }
    gateway = Gateway(
        tmp_path / "gateway",
        remote,
        branches,
        environments={"find_links": str(wheels.folder)},
        ready_wait="100s",
        monitoring={"target": "none"},
    )
    gateways.append(gateway)
    gateway.start()
    everyone = {"prod": "prod", "older": [1, False], "newer": [2, False]}
    assert answered_by(gateway, set(branches)) == everyone
    assert gateway.branch("prod")["environment"]["kind"] == "gateway"
    assert gateway.branch("older")["environment"]["lock"] == "requirements.txt"
    holds = {name: gateway.branch(name)["containment"]["holds"] for name in branches}
    assert holds["prod"]
    assert holds["older"].keys() == holds["newer"].keys() == holds["prod"].keys()
    assert gateway.metric('gateway_environment_builds_total{result="built"}') == 2

    wrong = remote.commit("newer", {"requirements.txt": two[:-5] + "0000\n"})
    wait_until(lambda: gateway.branch("newer")["quarantined"], describe=gateway.words)
    reason = gateway.branch("newer")["reason"]
    assert "uv says: error: Failed to" in reason
    assert "Hash mismatch for `scorer==2.0`" in reason
    assert answered_by(gateway, set(branches)) == everyone
    assert gateway.stop() == 0

    gateway.start()
    assert answered_by(gateway, set(branches)) == everyone
    assert gateway.serving("newer") != wrong
    assert gateway.metric('gateway_environment_builds_total{result="built"}') == 0
    assert gateway.metric("gateway_environments") == 2


@pytest.mark.needs("uv")
@pytest.mark.timeout(400)
def test_two_releases_of_scikit_learn_and_none_serve_side_by_side(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("prod"))
    says = _SAYS.replace("import scorer", "").replace("scorer.NUMBER", "0")
    remote.commit("none", {"src/serve.py": says, "requirements.txt": "# Python alone\n"})
    for branch, requirements in _TRAINED_BY.items():
        lock, model = trained(tmp_path / branch, requirements)
        remote.commit(branch, {"requirements.txt": lock, "models/model.joblib": model})
    branches: dict[str, Mapping[str, Any]] = {
        "prod": {"weight": 1},
        **dict.fromkeys(("none", *_TRAINED_BY), _OWN),
    }
    gateway = Gateway(tmp_path / "gateway", remote, branches)
    gateways.append(gateway)
    gateway.start(ready=False)
    wait_until(
        lambda: all(gateway.branch(name)["state"] == "ready" for name in branches),
        300.0,
        lambda: [gateway.branch(name)["reason"] for name in branches],
    )
    found = answered_by(gateway, set(branches))
    assert found == {"prod": "prod", "none": [0, False], "older": 1, "newer": 1}
    for branch, requirements in _TRAINED_BY.items():
        state = gateway.branch(branch)
        for requirement in requirements:
            name, _, version = requirement.partition("==")
            assert state["versions"][name] == version
        assert state["saved_with"]["scikit-learn"] == state["versions"]["scikit-learn"]

    # The gateway's own libraries are others: it says so, and what would cure it.
    remote.commit("prod", {"models/model.joblib": model, "src/serve.py": None})
    wait_until(lambda: gateway.branch("prod")["kind"] == "classifier", 60.0, gateway.words)
    wanted = gateway.branch("prod")["saved_with"]["scikit-learn"]
    words = f"requirements.txt scikit-learn=={wanted}"
    wait_until(lambda: words in published(remote), 60.0, lambda: published(remote))


def published(remote: Remote) -> str:
    """All that the branch prod was told in its logs/."""
    remote.checkout("prod")
    return "".join(path.read_text() for path in remote.person.glob("logs/**/*.jsonl"))


def trained(folder: Path, requirements: tuple[str, ...]) -> tuple[str, bytes]:
    """A lock with hashes, and a model made by what it names."""
    folder.mkdir()
    uv = str(find_uv())
    asked = folder / "requirements.in"
    asked.write_text("\n".join(requirements))
    lock, model = folder / "requirements.txt", folder / "model.joblib"
    environ = {**os.environ, "UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(folder / "cache")}
    for command in (
        ["pip", "compile", "--quiet", "--generate-hashes", asked, "--output-file", lock],
        ["run", "--no-project", "--with-requirements", lock, "python", "-c", _TRAIN, model],
    ):
        done = subprocess.run(
            [uv, *map(str, command)], env=environ, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
    return lock.read_text(), model.read_bytes()
