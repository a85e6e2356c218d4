"""What a changed model costs on the wire: its own bytes and a few trees, however large the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from githttp import GitHttp
from gitrepo import Remote
from gitrepo import git as person

from gateway.names import Branch, Commit
from gateway.repositories.arrivals import Arrivals
from gateway.repositories.credentials import Credentials

PROD = Branch("prod")
MODEL_BYTES = 2_000_000


@pytest.fixture
def large(tmp_path: Path) -> Remote:
    """100 MB in 204 files: training data, three earlier models, and the model that serves."""
    made = Remote(tmp_path / "large.git")
    for repository in (made.path, made.person):
        # Random bytes neither shrink nor resemble one another: git need not try.
        person(repository, "config", "core.compression", "0")
        person(repository, "config", "core.bigFileThreshold", "1k")
        person(repository, "config", "core.fsync", "none")
    files: dict[str, bytes | str | None] = {
        f"data/{day // 20:02}/{day:03}.parquet": os.urandom(460_000) for day in range(200)
    }
    files |= {f"archive/{year}.pkl": os.urandom(MODEL_BYTES) for year in (2021, 2022, 2023)}
    files["models/model.pkl"] = os.urandom(MODEL_BYTES)
    made.commit("prod", files)
    return made


@pytest.fixture
def server(large: Remote, tmp_path: Path) -> Iterator[GitHttp]:
    person(large.path, "config", "uploadpack.allowFilter", "true")
    with GitHttp(tmp_path, password="token") as running:
        yield running


def test_a_changed_model_brings_its_own_bytes_and_a_few_trees(
    server: GitHttp,
    large: Remote,
    tmp_path: Path,
    known: dict[str, Credentials],
    arrivals_in: Callable[..., Arrivals],
) -> None:
    (tmp_path / "token").write_text("token")
    url = server.url(large.path)
    known[url] = Credentials(password_at=f"{tmp_path}/token", password_from="the file")
    arrivals = arrivals_in(tmp_path / "s", url)

    def cost(tip: str) -> tuple[int, int]:
        """Bytes and requests of a poll and of what it leads to."""
        bytes_before, requests_before = server.sent_bytes, server.requests
        assert tip == arrivals.heads()[PROD]
        move, lease = arrivals.take(PROD, Commit(tip), None)
        lease.release()
        if move.settling:
            named = arrivals.settle(PROD, move, 60.0)
            assert named is not None
            move = named
        assert move.commit_known
        return server.sent_bytes - bytes_before, server.requests - requests_before

    first = cost(large.tip("prod"))
    changed = cost(large.commit("prod", {"models/model.pkl": os.urandom(MODEL_BYTES)}))
    quiet = cost(large.commit("prod", {"README.md": "more words"}))

    whole = sum(file.stat().st_size for file in large.path.rglob("*") if file.is_file())
    assert whole > 100_000_000
    for what, (sent, requests) in {"first": first, "changed": changed, "quiet": quiet}.items():
        print(f"{what}: {sent:,} bytes in {requests} requests, of {whole:,}")  # noqa: T201
    assert MODEL_BYTES < first[0] < MODEL_BYTES + 30_000
    assert MODEL_BYTES < changed[0] < MODEL_BYTES + 30_000
    assert quiet[0] < 30_000
    # Each of poll, trees, history and model: the question without a password, then with it, then
    # what protocol 2 asks.
    assert changed[1] <= 20
    assert quiet[1] < changed[1]
