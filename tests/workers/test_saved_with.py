"""Versions that a model was saved with, told from its file before it is unpickled."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import json
import lzma
import pickle
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from workers.fleets import PROD, running, snapshot

from gateway.config.sections import BranchConfig

HERE = sklearn.__version__.encode()
#: As long, so that what stands around it stays right.
OTHER = b"0" + HERE[1:]
Files = dict[str, "str | bytes"]


@cache
def model() -> LogisticRegression:
    return LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])


def dumped(version: bytes = OTHER) -> bytes:
    """By joblib, as if another scikit-learn had saved it."""
    buffer = io.BytesIO()
    joblib.dump(model(), buffer)
    assert buffer.getvalue().count(HERE) == 1
    return buffer.getvalue().replace(HERE, version)


def state_of(tmp_path: Path, files: Files, **branch: Any) -> tuple[dict[str, Any], list[str]]:
    """What status says, and what was logged, once a fleet has loaded these files."""
    said: list[tuple[dict[str, Any], list[str]]] = []

    async def story() -> None:
        async with running(tmp_path, branches={PROD: BranchConfig(**branch)}) as world:
            state = await world.settled(snapshot(tmp_path, files))
            said.append((state, [log[4] for log in world.logs]))

    asyncio.run(story())
    return said[0]


def test_another_scikit_learn_is_said_with_the_setting_that_cures_it(tmp_path: Path) -> None:
    state, logs = state_of(tmp_path, {"models/model.joblib": dumped()})
    assert state["state"] == "ready"
    assert state["saved_with"] == {"scikit-learn": OTHER.decode()}
    expected = (
        f"models/model.joblib was saved with scikit-learn {OTHER.decode()}; the gateway's "
        f"environment has scikit-learn {HERE.decode()}. Give the branch `environment: branch`, and "
        f"its uv.lock, pylock.toml or requirements.txt scikit-learn=={OTHER.decode()}"
    )
    assert expected in logs


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "packed",
    [bytes, gzip.compress, zlib.compress, bz2.compress, lzma.compress],
    ids=["plain", "gzip", "zlib", "bz2", "xz"],
)
def test_strict_versions_refuse_it_before_a_byte_is_unpickled(
    tmp_path: Path, packed: Callable[[bytes], bytes], protocol: int
) -> None:
    class Opened:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "opened",)

    content = pickle.dumps([Opened(), {"_sklearn_version": "0.9.9"}], protocol=protocol)
    files: Files = {"models/model.joblib": packed(content)}
    state, _ = state_of(tmp_path, files, strict_versions=True)
    assert "saved with scikit-learn 0.9.9" in state["reason"]
    assert "refused by the branch's `strict_versions`" in state["reason"]
    assert not (tmp_path / "opened").exists()


def test_a_failure_to_unpickle_is_told_with_the_versions_behind_it(tmp_path: Path) -> None:
    content = pickle.dumps(["_sklearn_version", "0.9.9"], protocol=2)[:-1] + b"cgone\nmodule\n."
    state, _ = state_of(tmp_path, {"models/model.pkl": content})
    assert "needs the module 'gone'" in state["reason"]
    assert "was saved with scikit-learn 0.9.9" in state["reason"]


def test_equal_versions_are_no_news(tmp_path: Path) -> None:
    content = pickle.dumps(model())
    state, logs = state_of(tmp_path, {"models/model.pkl": content}, strict_versions=True)
    major = np.__version__.partition(".")[0]
    assert state["saved_with"] == {"scikit-learn": sklearn.__version__, "numpy": major}
    assert (state["state"], logs) == ("ready", [])


_LOCKED = (
    '[[package]]\nname = "joblib"\nversion = "0.1.2"\n[[package]]\nname = "numpy"\nversion = "0.5"'
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "# made\njoblib==0.1.2 \\\n  --hash=sha256:00\nNumPy == 0.5 ; x\n"),
        ("uv.lock", _LOCKED),
        ("metrics/model.json", json.dumps({"versions": {"joblib": "0.1.2", "numpy": "0.5"}})),
    ],
)
def test_what_the_file_does_not_say_the_lock_or_the_training_does(
    tmp_path: Path, name: str, text: str
) -> None:
    files: Files = {"models/model.joblib": pickle.dumps([]), name: text}
    state, _ = state_of(tmp_path, files, strict_versions=True)
    assert "was saved with numpy 0.5 and joblib 0.1.2" in state["reason"]
