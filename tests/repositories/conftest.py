"""What the tests of this room share: a remote by each transport, caches of it, and arrivals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from gitdaemon import git_daemon
from githttp import GitHttp
from gitrepo import Remote
from gitrepo import git as person
from sshserver import SshServer

from gateway.config import CredentialsConfig
from gateway.repositories.arrivals import Arrivals, Bounds
from gateway.repositories.credentials import Credentials, open_credentials
from gateway.repositories.git import Git
from gateway.repositories.remembered import Remembered
from gateway.repositories.snapshots import Snapshots

MODEL = os.urandom(5_000_000)
#: With characters that URLs, shells and headers write otherwise.
TOKEN = "t0k3n/with+odd%41 $characters'"


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
def known() -> dict[str, Credentials]:
    """The credentials of those URLs that want some; servers add theirs."""
    return {}


@pytest.fixture
def cache_of(
    tmp_path: Path, environment: dict[str, str], known: dict[str, Credentials]
) -> Callable[[str], Git]:
    """A prepared new cache of a URL."""

    def make(url: str) -> Git:
        number = len(list((tmp_path / "caches").glob("*")))
        cache = tmp_path / "caches" / f"{number}"
        git = Git(cache, url, environment, deadline=120, credentials=known.get(url))
        git.prepare()
        return git

    return make


@pytest.fixture
def git(remote: Remote, cache_of: Callable[[str], Git]) -> Git:
    return cache_of(str(remote.path))


@pytest.fixture
def arrivals_in(
    tmp_path: Path, environment: dict[str, str], known: dict[str, Credentials]
) -> Callable[..., Arrivals]:
    """Arrivals over a state directory that may be reused, opened."""

    def make(state: Path, url: str, bounds: Bounds | None = None) -> Arrivals:
        cache = state / "git" / "read"
        made = Arrivals(
            Git(cache, url, environment, deadline=120, credentials=known.get(url)),
            Snapshots(state / "snapshots"),
            Remembered(state / "branches.json"),
            bounds or Bounds(provenance=60.0),
        )
        state.mkdir(parents=True, exist_ok=True)
        made.open()
        return made

    return make


@pytest.fixture
def daemon(remote: Remote, environment: dict[str, str]) -> Iterator[str]:
    """The URL of the remote by `git daemon`, which may filter as a forge does."""
    with git_daemon(remote, environment) as port:
        yield f"git://127.0.0.1:{port}/{remote.path.name}"


@pytest.fixture
def http(remote: Remote, tmp_path: Path) -> Iterator[GitHttp]:
    """A server of the remote over http that wants a password."""
    person(remote.path, "config", "uploadpack.allowFilter", "true")
    with GitHttp(tmp_path, password=TOKEN) as server:
        yield server


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def https(remote: Remote, tmp_path: Path, authority: trustme.CA) -> Iterator[GitHttp]:
    """The same over https, with a certificate that only the test's authority vouches for."""
    person(remote.path, "config", "uploadpack.allowFilter", "true")
    with GitHttp(tmp_path, password=TOKEN, authority=authority) as server:
        yield server


@pytest.fixture
def ssh(remote: Remote, tmp_path: Path) -> Iterator[SshServer]:
    """A server of the remote over ssh that lets one key in."""
    person(remote.path, "config", "uploadpack.allowFilter", "true")
    with SshServer(tmp_path) as server:
        yield server


@pytest.fixture
def open_as(tmp_path: Path) -> Callable[..., Credentials]:
    """Credentials as gateway.yaml would say them; the token is in an environment variable."""

    def make(**settings: Any) -> Credentials:
        return open_credentials(CredentialsConfig(**settings), {"GIT_TOKEN": TOKEN})

    return make


@pytest.fixture
def url_by(
    request: pytest.FixtureRequest,
    remote: Remote,
    tmp_path: Path,
    known: dict[str, Credentials],
    open_as: Callable[..., Credentials],
) -> Callable[[str], str]:
    """The remote's URL by a transport; its server is started and its credentials are known."""

    def make(transport: str) -> str:
        if transport == "path":
            return str(remote.path)
        if transport == "file":
            return f"file://{remote.path}"
        server = request.getfixturevalue(transport)
        if transport == "daemon":
            return str(server)
        url: str = server.url(remote.path)
        if transport == "http":
            (tmp_path / "token").write_text(f"{TOKEN}\n")
            known[url] = open_as(password_file=str(tmp_path / "token"))
        elif transport == "https":
            ca_file = tmp_path / "ca.pem"
            request.getfixturevalue("authority").cert_pem.write_to_path(str(ca_file))
            known[url] = open_as(password_env="GIT_TOKEN", ca_file=str(ca_file))
        else:
            known[url] = open_as(
                ssh_key_file=str(server.key_file), known_hosts_file=str(server.known_hosts_file)
            )
        return url

    return make


@pytest.fixture(
    params=[
        *("path", "file", "daemon", "http", "https"),
        pytest.param("ssh", marks=pytest.mark.needs("sshd")),
    ]
)
def url(request: pytest.FixtureRequest, url_by: Callable[[str], str]) -> str:
    """The remote by each transport in turn."""
    return url_by(request.param)
