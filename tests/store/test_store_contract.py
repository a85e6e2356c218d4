"""What every store promises, held against each implementation: a new one is one line here."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from movingstore import MovingStore

from gateway.chunks import ChunkKey
from gateway.errors import StateError
from gateway.layout import Kind, Segment, segment_path
from gateway.names import Branch
from gateway.store import Name, Outgoing, Publication, Push, Store
from gateway.store.sqlite import MIGRATIONS, SqliteStore

Open = Callable[[Path], AbstractContextManager[Store]]

#: Each opens what the same folder held before.
IMPLEMENTATIONS: dict[str, Open] = {
    "sqlite": lambda folder: SqliteStore(folder / "store.sqlite"),
}
#: What another replica opens is held to the same page.
OPENED: dict[str, Callable[[Path], Any]] = {**IMPLEMENTATIONS, "sqlite-by-redis": MovingStore}
every_store = pytest.mark.parametrize("opened", OPENED.values(), ids=OPENED)

KEY = ChunkKey("a1b2c3d4", 7)
PROD, DEV = Branch("prod"), Branch("dev")


@every_store
def test_counts_of_a_part_are_added_once(opened: Open, tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert store.add_counts(KEY, "rows", {("rows", "a", ""): 2, ("drift", "a"): 5})
        assert not store.add_counts(KEY, "rows", {("rows", "a", ""): 2})
        assert store.add_counts(KEY, "more", {("rows", "a", ""): 1})
        assert store.add_counts(ChunkKey("a1b2c3d4", 8), "rows", {("rows", "b\n,é"): 1})
    with opened(tmp_path) as store:
        assert not store.add_counts(KEY, "rows", {("rows", "a", ""): 2})
        assert store.totals("rows") == {("rows", "a", ""): 3, ("rows", "b\n,é"): 1}
        assert store.totals("drift") == {("drift", "a"): 5}
        assert store.totals("absent") == {}


names = st.tuples(st.just("rows"), st.text(max_size=3), st.sampled_from(["ok", "error"]))
parts = st.dictionaries(
    st.tuples(st.sampled_from(["00000000", "ffffffff"]), st.integers(1, 3), st.text(max_size=2)),
    st.dictionaries(names, st.integers(0, 2**40), max_size=3),
    max_size=6,
)


@every_store
@settings(max_examples=30, deadline=None)
@given(parts, st.integers(1, 3), st.randoms(use_true_random=False))
def test_any_order_with_repeats_gives_the_same_totals(
    opened: Open,
    counts: dict[tuple[str, int, str], dict[Name, int]],
    repeats: int,
    rng: random.Random,
) -> None:
    deliveries = list(counts.items()) * repeats
    rng.shuffle(deliveries)
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as store:
        for (writer, number, part), names_of_part in deliveries:
            store.add_counts(ChunkKey(writer, number), part, names_of_part)
        expected: Counter[Name] = Counter()
        for names_of_part in counts.values():
            expected.update(names_of_part)
        assert store.totals("rows") == dict(expected)


@every_store
def test_confirmations_are_per_chunk_and_branch_and_outlive_the_process(
    opened: Open, tmp_path: Path
) -> None:
    other = ChunkKey("a1b2c3d4", 8)
    with opened(tmp_path) as store:
        store.confirm([KEY, other], PROD, "refs/heads/prod", "c" * 40)
        store.confirm([KEY], PROD, "refs/heads/other", "d" * 40)
        store.confirm([KEY], DEV, "refs/heads/dev", "e" * 40)
    with opened(tmp_path) as store:
        assert store.confirmed(KEY) == {
            PROD: ("refs/heads/prod", "c" * 40),
            DEV: ("refs/heads/dev", "e" * 40),
        }
        store.forget(KEY)
        store.forget(KEY)
        assert store.confirmed(KEY) == {}
        assert store.confirmed(other) == {PROD: ("refs/heads/prod", "c" * 40)}


@every_store
def test_a_forgotten_chunk_stays_counted(opened: Open, tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.add_counts(KEY, "rows", {("rows", "a"): 2})
        store.forget(KEY)
        assert not store.add_counts(KEY, "rows", {("rows", "a"): 2})


@every_store
def test_publications_come_back_as_they_were_set(opened: Open, tmp_path: Path) -> None:
    push = Push("2026-11-23T10:00:00.123Z", PROD.ref, "c" * 40, 3, 120)
    state = Publication("refused: no", "stamp", PROD.ref, push, "2026-11-23T10:00:00.123Z", "no")
    with opened(tmp_path) as store:
        assert store.publication(PROD) == Publication()
        store.set_publication(PROD, state)
    with opened(tmp_path) as store:
        assert store.publication(PROD) == state
        assert store.publication(DEV) == Publication()
        store.set_publication(PROD, Publication())
        assert store.publication(PROD) == Publication()


def segment(key: ChunkKey = KEY, branch: Branch = PROD, kind: Kind = "drift") -> Segment:
    opened = datetime(2026, 11, 23, 10, tzinfo=UTC)
    path = segment_path(kind, branch, opened, key)
    return Segment(key, kind, branch, path, b"a,b\n1,\xff\n", 1)


def outgoing(*segments: Segment) -> list[Outgoing]:
    return [Outgoing(one.key, one.branch, one.path, len(one.content)) for one in segments]


@every_store
def test_what_is_remembered_is_recalled_by_room_until_it_is_taken_away(
    opened: Open, tmp_path: Path
) -> None:
    with opened(tmp_path) as store:
        assert store.recall("a") == {}
        assert store.remember({("a", "é\n"): b"\x00\xff", ("a", "two"): b"", ("b", "two"): b"2"})
        assert store.remember({("a", "two"): b"3"})
    with opened(tmp_path) as store:
        assert store.recall("a") == {"é\n": b"\x00\xff", "two": b"3"}
        assert store.remember({("a", "two"): None, ("a", "never"): None})
        assert store.recall("a") == {"é\n": b"\x00\xff"}
        assert store.recall("b") == {"two": b"2"}


@every_store
def test_of_a_part_that_was_taken_before_nothing_is_remembered(
    opened: Open, tmp_path: Path
) -> None:
    with opened(tmp_path) as store:
        assert not store.has(KEY, "drift")
        assert store.remember({("a", "x"): b"1"}, taken=(KEY, "drift"), outgoing=[segment()])
    other = segment(ChunkKey("a1b2c3d4", 8))
    with opened(tmp_path) as store:
        assert store.has(KEY, "drift")
        assert not store.has(KEY, "rows")
        again = {("a", "x"): b"2", ("a", "y"): b"2"}
        assert not store.remember(again, taken=(KEY, "drift"), outgoing=[other])
        assert store.recall("a") == {"x": b"1"}
        assert store.outgoing() == outgoing(segment())
        assert not store.add_counts(KEY, "drift", {("rows", "a"): 1}), "a part is a part"
        assert store.add_counts(KEY, "rows", {("rows", "a"): 1})
        assert store.has(KEY, "rows")


@every_store
def test_segments_handed_in_are_there_until_they_are_forgotten(
    opened: Open, tmp_path: Path
) -> None:
    drift, decisions, dev = segment(), segment(kind="decisions"), segment(branch=DEV)
    tenth, ninth = segment(ChunkKey("a1b2c3d4", 10)), segment(ChunkKey("a1b2c3d4", 9))
    with opened(tmp_path) as store:
        store.remember({}, outgoing=[drift, dev, decisions])
        store.remember({}, outgoing=[tenth])
        store.remember({}, outgoing=[ninth])
    with opened(tmp_path) as store:
        # By number, and within one by path.
        assert store.outgoing() == outgoing(decisions, dev, drift, ninth, tenth)
        assert store.segments(KEY, PROD) == [decisions, drift]
        assert store.segments(KEY, DEV) == [dev]
        assert store.segments(ChunkKey("ffffffff", 1), PROD) == []
        store.confirm([KEY], PROD, PROD.ref, "c" * 40)
        assert len(store.outgoing()) == 5, "another branch's may still be wanted"
        store.forget(KEY)
        assert store.outgoing() == outgoing(ninth, tenth)
        assert store.confirmed(KEY) == {}


@every_store
def test_what_fails_in_the_middle_changes_nothing(opened: Open, tmp_path: Path) -> None:
    def broken() -> Iterator[Segment]:
        yield segment()
        raise RuntimeError("no more")

    with opened(tmp_path) as store:
        store.remember({("a", "x"): b"1"})
        changes = {("a", "x"): None, ("a", "y"): b"2"}
        with pytest.raises(RuntimeError):
            store.remember(changes, taken=(KEY, "drift"), outgoing=broken())
        assert store.recall("a") == {"x": b"1"}
        assert store.outgoing() == []
        assert store.remember({}, taken=(KEY, "drift"))


REMEMBERING = """
import sys
from pathlib import Path
from gateway.chunks import ChunkKey
sys.path.insert(0, {tests!r})
from test_store_contract import IMPLEMENTATIONS, segment
with IMPLEMENTATIONS[{name!r}](Path(sys.argv[1])) as store:
    for number in range(1, 1_000_000):
        key = ChunkKey("a1b2c3d4", number)
        changes = {{("a", str(n)): b"%d" % number for n in range(50)}}
        changes["b", str(number)] = b""
        changes["b", str(number - 1)] = None
        store.remember(changes, taken=(key, "drift"), outgoing=[segment(key)])
        print(number, flush=True)
"""


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_killed_in_the_middle_it_remembers_all_of_a_chunk_or_nothing(
    name: str, tmp_path: Path
) -> None:
    program = REMEMBERING.format(tests=str(Path(__file__).parent), name=name)
    roots = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(roots)}
    for round_ in range(3):
        folder = tmp_path / str(round_)
        folder.mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, env=environ
        ) as child:
            assert child.stdout is not None
            for _ in range(15 + round_):
                returned = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
        with IMPLEMENTATIONS[name](folder) as store:
            (last,) = map(int, store.recall("b"))
            assert last >= returned
            assert set(store.recall("a").values()) == {b"%d" % last}
            numbers = [one.key.number for one in store.outgoing()]
            assert numbers == list(range(1, last + 1))
            assert store.has(ChunkKey("a1b2c3d4", last), "drift")
            assert not store.has(ChunkKey("a1b2c3d4", last + 1), "drift")


def test_a_file_of_the_first_version_keeps_what_it_knew_and_learns_to_remember(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr("gateway.store.sqlite.MIGRATIONS", MIGRATIONS[:1])
        with SqliteStore(path) as store:
            store.add_counts(KEY, "rows", {("rows", "a"): 2})
            store.confirm([KEY], PROD, PROD.ref, "c" * 40)
            with pytest.raises(StateError, match="no such table"):
                store.recall("a")
    with SqliteStore(path) as store:
        assert store.totals("rows") == {("rows", "a"): 2}
        assert store.confirmed(KEY) == {PROD: (PROD.ref, "c" * 40)}
        assert store.recall("a") == {}
        assert store.has(KEY, "rows")
        assert store.remember({("a", "x"): b"1"}, taken=(KEY, "drift"), outgoing=[segment()])
    with SqliteStore(path) as store:
        assert (store.recall("a"), store.segments(KEY, PROD)) == ({"x": b"1"}, [segment()])


COUNTING = """
import sys
from pathlib import Path
from gateway.chunks import ChunkKey
sys.path.insert(0, {tests!r})
from test_store_contract import IMPLEMENTATIONS
counts = {{("rows", str(n)): 1 for n in range(200)}}
with IMPLEMENTATIONS[{name!r}](Path(sys.argv[1])) as store:
    for number in range(1, 1_000_000):
        store.add_counts(ChunkKey("a1b2c3d4", number), "rows", counts)
        print(number, flush=True)
"""


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_killed_in_the_middle_it_holds_whole_parts_and_all_that_were_returned(
    name: str, tmp_path: Path
) -> None:
    program = COUNTING.format(tests=str(Path(__file__).parent), name=name)
    roots = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(roots)}
    returned = 0
    for round_ in range(4):
        folder = tmp_path / str(round_)
        folder.mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, env=environ
        ) as child:
            assert child.stdout is not None
            for _ in range(20 + round_):
                returned = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            for line in child.stdout.read().splitlines(keepends=True):
                returned = int(line) if line.endswith(b"\n") else returned
        with IMPLEMENTATIONS[name](folder) as store:
            totals = store.totals("rows")
            assert len(totals) == 200
            assert len(set(totals.values())) == 1, "a part was added in part"
            assert returned <= totals["rows", "0"] <= returned + 1
            counted = totals["rows", "0"]
            assert not store.add_counts(ChunkKey("a1b2c3d4", counted), "rows", {("rows", "0"): 1})
            assert store.add_counts(ChunkKey("a1b2c3d4", counted + 1), "rows", {("rows", "0"): 1})


def test_a_transaction_left_open_by_a_dead_process_is_not_there(tmp_path: Path) -> None:
    """SQLite only: killed between its statements, certainly inside the transaction."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from gateway.chunks import ChunkKey\n"
        "from gateway.store.sqlite import SqliteStore\n"
        "class Deadly(dict):\n"
        "    def items(self):\n"
        "        yield ('rows', 'a'), 1\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "with SqliteStore(Path(sys.argv[1])) as store:\n"
        "    store.add_counts(ChunkKey('a1b2c3d4', 1), 'rows', Deadly())\n"
    )
    path = tmp_path / "store.sqlite"
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with SqliteStore(path) as store:
        assert store.totals("rows") == {}
        assert store.add_counts(ChunkKey("a1b2c3d4", 1), "rows", {("rows", "a"): 1})


def test_a_file_of_a_later_version_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with SqliteStore(path):
        pass
    later = len(MIGRATIONS) + 1
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO migration VALUES (?)", (later,))
    with pytest.raises(StateError, match=f"later version of the gateway \\(schema {later};"):
        SqliteStore(path).__enter__()


def test_migrations_are_applied_once_and_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite"
    with SqliteStore(path) as store:
        store.add_counts(KEY, "rows", {("rows", "a"): 2})
    added = ("CREATE TABLE one (x TEXT); INSERT INTO one VALUES ('1')", "DROP TABLE one")
    monkeypatch.setattr("gateway.store.sqlite.MIGRATIONS", (*MIGRATIONS, *added))
    for _ in range(2):
        with SqliteStore(path) as store:
            assert store.totals("rows") == {("rows", "a"): 2}
    with contextlib.closing(sqlite3.connect(path)) as db:
        applied = db.execute("SELECT version FROM migration ORDER BY version").fetchall()
        assert applied == [(n + 1,) for n in range(len(MIGRATIONS) + 2)]
        assert db.execute("SELECT 1 FROM sqlite_master WHERE name = 'one'").fetchall() == []


def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 10)
    with pytest.raises(StateError) as caught:
        SqliteStore(path).__enter__()
    assert caught.value.where == str(path)
