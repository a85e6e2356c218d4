"""What the tests of this room share: a remote by each transport, caches of it, and arrivals."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gitrepo import Remote
from gitrepo import git as person
from waiting import wait_until

from gateway.repositories.arrivals import Arrivals, Bounds
from gateway.repositories.git import Git
from gateway.repositories.remembered import Remembered
from gateway.repositories.snapshots import Snapshots

MODEL = os.urandom(5_000_000)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """A repository with branch prod: a 5 MB model, code, and data that is nobody's business."""
    made = Remote(tmp_path / "remote.git")
    made.commit(
        "prod",
        {
            "models/model.pkl": MODEL,
            "src/serve.py": "ROW_WISE = True\n",
            "metrics/model.json": "{}",
            "data/train.csv": os.urandom(2_000_000),
            "README.md": "churn",
        },
    )
    return made


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}


@pytest.fixture
def cache_of(tmp_path: Path, environment: dict[str, str]) -> Callable[[str], Git]:
    """A prepared new cache of a URL."""

    def make(url: str) -> Git:
        number = len(list((tmp_path / "caches").glob("*")))
        git = Git(tmp_path / "caches" / f"{number}", url, environment, deadline=30)
        git.prepare()
        return git

    return make


@pytest.fixture
def git(remote: Remote, cache_of: Callable[[str], Git]) -> Git:
    return cache_of(str(remote.path))


@pytest.fixture
def arrivals_in(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Arrivals]:
    """Arrivals over a state directory that may be reused, opened."""

    def make(state: Path, url: str, bounds: Bounds | None = None) -> Arrivals:
        made = Arrivals(
            Git(state / "git" / "read", url, environment, deadline=30),
            Snapshots(state / "snapshots"),
            Remembered(state / "branches.json"),
            bounds or Bounds(provenance=20.0),
        )
        state.mkdir(parents=True, exist_ok=True)
        made.open()
        return made

    return make


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def daemon(remote: Remote, tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    """The URL of the remote by `git daemon`, which may filter as a forge does."""
    port = _free_port()
    person(remote.path, "config", "uploadpack.allowFilter", "true")
    child = subprocess.Popen(
        [
            "git",
            "-c",
            "safe.directory=*",
            "daemon",
            "--listen=127.0.0.1",
            f"--port={port}",
            f"--base-path={tmp_path}",
            "--export-all",
            "--enable=receive-pack",
            "--reuseaddr",
        ],
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: _answers(port), describe=child.poll)
        yield f"git://127.0.0.1:{port}/{remote.path.name}"
    finally:
        os.killpg(child.pid, 15)
        child.wait()


@pytest.fixture(params=["path", "file", "daemon"])
def url(request: pytest.FixtureRequest, remote: Remote) -> str:
    """The remote by each transport in turn."""
    if request.param == "path":
        return str(remote.path)
    if request.param == "file":
        return f"file://{remote.path}"
    daemon: str = request.getfixturevalue("daemon")
    return daemon
