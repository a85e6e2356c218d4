"""Segments of the monitor's own: pushed once, kept until then, and read back as one file."""

from __future__ import annotations

import asyncio
import csv
import io
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner
from driftchunks import TEN, Kept, bring_reference, profile, settings_of
from gitrepo import Remote
from monitorprocess import pushed_rows
from starlette.requests import Request
from starlette.responses import StreamingResponse

from gateway.chunks import ChunkKey
from gateway.cli import main
from gateway.layout import Kind, Segment, parse_path, segment_path
from gateway.monitoring.drift.files import GitFiles
from gateway.monitoring.export import export
from gateway.monitoring.git_shelf import GitShelf
from gateway.monitoring.monitor import Finishing, Monitor
from gateway.monitoring.outbox import Outbox
from gateway.monitoring.segments import DRIFT_COLUMNS
from gateway.names import Branch
from gateway.repositories.data import BranchData
from gateway.repositories.git import Git
from gateway.store import Store
from gateway.store.sqlite import SqliteStore
from gateway.web.status import Status
from gateway.web.views import Views

PROD, DEV = Branch("prod"), Branch("dev")
HOUR = 3600.0
NOW = datetime.fromtimestamp(TEN + 10 * HOUR, UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with SqliteStore(tmp_path / "store.sqlite") as opened:
        yield opened


def hand_in(store: Store, number: int, *branches: Branch, size: int = 10) -> list[Segment]:
    """Of two kinds for each branch, under one key."""
    key, opened = ChunkKey("a1b2c3d4", number), datetime.fromtimestamp(TEN, UTC)
    made = [
        Segment(key, kind, branch, segment_path(kind, branch, opened, key), b"x" * size, 1)
        for branch in branches
        for kind in ("decisions", "drift")
    ]
    store.remember({}, outgoing=made)
    return made


def paths(segments: list[Segment]) -> list[str]:
    return [segment.path for segment in segments]


def test_a_branch_has_what_is_not_confirmed_for_it(store: Store, tmp_path: Path) -> None:
    outbox, settings = Outbox(store), settings_of(tmp_path)
    made = hand_in(store, 1, PROD, DEV)
    assert outbox.branches(settings) == [DEV, PROD]
    assert outbox.segments(PROD, 100) == made[:2]
    store.confirm([ChunkKey("a1b2c3d4", 1)], PROD, PROD.ref, "c" * 40)
    outbox.settle(settings, NOW)
    assert (outbox.branches(settings), outbox.segments(PROD, 100)) == ([DEV], [])
    assert outbox.segments(DEV, 100) == made[2:]
    store.confirm([ChunkKey("a1b2c3d4", 1)], DEV, DEV.ref, "c" * 40)
    outbox.settle(settings, NOW)
    assert store.outgoing() == []
    assert store.confirmed(ChunkKey("a1b2c3d4", 1)) == {}


def test_what_may_not_go_yet_waits_and_is_kept(store: Store, tmp_path: Path) -> None:
    """As until the state that it stands in is where another holder finds it."""
    gone: set[ChunkKey] = set()
    outbox, settings = Outbox(store, gone.__contains__), settings_of(tmp_path)
    first, second = hand_in(store, 1, PROD), hand_in(store, 2, PROD, DEV)
    assert (outbox.branches(settings), outbox.segments(PROD, 100)) == ([], [])
    gone.add(ChunkKey("a1b2c3d4", 1))
    assert (outbox.branches(settings), outbox.segments(PROD, 100)) == ([PROD], first)
    outbox.settle(settings, NOW)
    gone.add(ChunkKey("a1b2c3d4", 2))
    assert outbox.branches(settings) == [DEV, PROD]
    assert outbox.segments(PROD, 100) == first + second[:2]


def test_a_commit_takes_whole_keys_the_oldest_first_and_one_at_least(store: Store) -> None:
    """A key that was confirmed for a branch is done with: half of one must never go."""
    outbox = Outbox(store)
    made = [hand_in(store, number, DEV, PROD)[2:] for number in range(1, 4)]
    assert outbox.segments(PROD, 5) == made[0]
    assert outbox.segments(PROD, 39) == made[0]
    assert outbox.segments(PROD, 40) == made[0] + made[1]
    assert outbox.segments(PROD, 10**6) == [*made[0], *made[1], *made[2]]


def test_under_target_none_nothing_goes_and_what_is_old_is_forgotten(
    store: Store, tmp_path: Path
) -> None:
    outbox = Outbox(store)
    kept = settings_of(tmp_path, target="none", retention=2 * 86400.0)
    hand_in(store, 1, PROD)
    assert outbox.branches(kept) == []
    outbox.settle(kept, NOW + timedelta(days=1))
    assert len(store.outgoing()) == 2
    outbox.settle(kept, NOW + timedelta(days=3))
    assert store.outgoing() == []
    hand_in(store, 2, PROD)
    outbox.settle(settings_of(tmp_path, retention=60.0), NOW + timedelta(days=3))
    assert len(store.outgoing()) == 2, "what waits for a remote is not old"


class Round:
    """A monitor on a state directory, whose pushes go to a real remote."""

    def __init__(self, state: Path, remote: Remote) -> None:
        self.at = 0.0
        self._state, self._remote = state, remote
        self.open()

    def open(self) -> None:
        """As after a crash: whatever was in memory is gone."""
        state, remote = self._state, self._remote
        git = Git(state / "git", str(remote.path), {"PATH": os.environ["PATH"], "HOME": str(state)})
        git.prepare()
        self.store = SqliteStore(state / "store.sqlite").__enter__()
        self.monitor = Monitor(
            settings_of(state, "prod", "dev"),
            GitShelf(git),
            GitFiles(BranchData(git, state / "data")),
            self.store,
            Finishing(10.0),
            clock=lambda: self.at,
            now=lambda: NOW,
            jitter=lambda: 0.5,
        )

    def crash(self) -> None:
        self.store.__exit__()
        self.open()

    def steps(self, seconds: float = 100.0) -> None:
        """Rounds for so long, ten seconds apart."""
        end = self.at + seconds
        while self.at < end:
            self.monitor.step()
            self.at += 10


@pytest.fixture
def rounds(tmp_path: Path, remote: Remote) -> Iterator[Round]:
    state = tmp_path / "state"
    with Kept(state, "prod", "dev") as kept:
        bring_reference(state, profile())
        for hour in range(2):
            kept.traffic.chunk(hour * HOUR, 600, branches=("prod", "dev"))
    remote.commit("prod", {"README": "x"})
    remote.commit("dev", {"README": "y"}, start="prod")
    made = Round(state, remote)
    yield made
    made.store.__exit__()


def keys_of(rows: list[str]) -> list[tuple[str, ...]]:
    named = [dict(zip(DRIFT_COLUMNS, row, strict=True)) for row in csv.reader(rows)]
    return sorted((row["window_start"], row["branch"], row["column"]) for row in named)


def test_what_could_not_be_pushed_is_pushed_later_once_also_after_a_crash(
    rounds: Round, remote: Remote
) -> None:
    hook = remote.hook("pre-receive", 'cat > /dev/null; kill -9 "$PPID"')
    rounds.steps()
    assert pushed_rows(remote, "drift") == []
    assert len(rounds.store.outgoing()) > 0
    rounds.crash()
    hook.unlink()
    rounds.steps()
    assert rounds.store.outgoing() == []
    keys = keys_of(pushed_rows(remote, "drift"))
    # Two windows of two columns for each branch, and the comparison of both.
    assert len(keys) == len(set(keys)) == 12
    rounds.crash()
    rounds.steps()
    assert keys_of(pushed_rows(remote, "drift")) == keys


def test_drift_rows_are_laid_out_as_other_rows_and_survive_a_merge(
    rounds: Round, remote: Remote
) -> None:
    rounds.steps()
    before = {branch: remote.files(branch, "monitoring/drift/") for branch in ("prod", "dev")}
    for branch, found in before.items():
        for path in found:
            parsed = parse_path(path)
            assert parsed is not None
            assert (parsed.kind, parsed.branch) == ("drift", branch)
    rows = {path: remote.read("dev", path) for path in before["dev"]}
    remote.merge("dev", "prod")
    assert set(remote.files("prod", "monitoring/drift/")) == {*before["prod"], *before["dev"]}
    assert {path: remote.read("prod", path) for path in before["dev"]} == rows
    environ = {"PATH": os.environ["PATH"], "HOME": str(remote.path)}
    text = b"".join(export(str(remote.path), PROD, "drift", environ)).decode()
    assert {row["branch"] for row in csv.DictReader(io.StringIO(text))} == {"prod"}


def test_they_are_exported_as_one_file_by_the_command(
    rounds: Round, remote: Remote, tmp_path: Path
) -> None:
    rounds.steps()
    output = tmp_path / "drift.csv"
    arguments = ["dev", "--kind", "drift", "--repository", str(remote.path)]
    done = CliRunner().invoke(main, ["export", *arguments, "--output", str(output)])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(output.read_text())))
    assert list(rows[0]) == list(DRIFT_COLUMNS)
    assert [row["window_start"][11:13] for row in rows if row["column"] == "age"] == ["10", "11"]
    assert {row["column"] for row in rows} == {"age", "income", "vs:prod:age", "vs:prod:income"}
    assert viewed(remote, "dev") == output.read_bytes()


def viewed(remote: Remote, branch: str) -> bytes:
    """The body of GET /branches/{branch}/monitoring/drift.csv."""

    class Known:
        def known(self, text: str) -> Branch:
            return Branch(text)

    def rows(branch: Branch, kind: Kind) -> Iterator[bytes]:
        return export(str(remote.path), branch, kind, {"PATH": os.environ["PATH"], "HOME": "/"})

    async def body() -> bytes:
        views = Views(cast("Status", Known()), rows, remote.path)
        path = {"branch": branch, "kind": "drift"}
        scope = {"type": "http", "method": "GET", "path_params": path}
        answer = cast("StreamingResponse", await views.csv(Request(scope)))
        return b"".join([cast("bytes", part) async for part in answer.body_iterator])

    return asyncio.run(body())
