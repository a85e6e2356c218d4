"""Drift's turns beside publishing: how long, in what order, what waits, what is left out."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from chunkfiles import header, request, schema, write
from driftchunks import NAMES, TEN, Kept, at, bring_reference, profile, settings_of
from gitrepo import Remote
from monitorprocess import pushed_rows

from gateway.chunks import ChunkKey
from gateway.errors import RemoteUnavailable, StateError
from gateway.monitoring import measuring as module
from gateway.monitoring.backlog import Backlog
from gateway.monitoring.drift.files import GitFiles
from gateway.monitoring.git_shelf import GitShelf
from gateway.monitoring.measuring import Measuring
from gateway.monitoring.monitor import Finishing, Monitor
from gateway.names import Branch
from gateway.repositories.data import BranchData
from gateway.repositories.git import Git
from gateway.statistics.drift import Rules, of_reference
from gateway.statistics.verdict import ColumnDrift
from gateway.statistics.window import Window
from gateway.store.sqlite import SqliteStore

HOUR = 3600.0
LATE = TEN + 100 * HOUR


class Turns:
    """Measuring over a real journal and store; taking a chunk takes `costs` seconds."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.costs = 0.0
        self.backlog = Backlog(kept.state / "journal", kept.store)
        self.measuring = Measuring(kept.drift, self.backlog, lambda: kept.now)
        self.taken: list[ChunkKey] = []
        take = kept.drift.take

        def slow(file: Any, *more: Any) -> None:
            take(file, *more)
            self.taken.append(file.key)
            kept.now += self.costs

        kept.drift.take = slow  # type: ignore[assignment, method-assign]

    def step(self, watermark: float = LATE) -> None:
        self.backlog.look(lambda: False)
        self.measuring.step(self.kept.settings, watermark, lambda: False)

    def status(self) -> dict[str, Any]:
        return self.measuring.status(self.kept.settings)

    def settle(self) -> list[Path]:
        """What is on disk after chunks were settled."""
        now = datetime.fromtimestamp(TEN + HOUR, UTC)
        settings = self.kept.settings
        self.measuring.without(self.backlog.settle(settings, now, self.measuring.holds))
        return sorted((self.kept.state / "journal").glob("*/*.jsonl"))

    def confirm(self) -> None:
        """All that there is of prod is in git."""
        keys = [one.file.key for one in self.backlog.chunks()]
        self.kept.store.confirm(keys, Branch("prod"), "refs/heads/prod", "c" * 40)


@pytest.fixture
def turns(tmp_path: Path) -> Iterator[Turns]:
    with Kept(tmp_path / "state") as kept:
        bring_reference(kept.state, profile())
        yield Turns(kept)


def test_a_turn_ends_in_time_and_the_rest_is_lag(turns: Turns) -> None:
    for number in range(5):
        turns.kept.traffic.chunk(number * 60, 100)
    turns.costs = 1.5
    lags = []
    for _ in range(3):
        turns.step()
        lags.append((turns.status()["lag_rows"], turns.measuring.is_behind, len(turns.taken)))
    assert lags == [(300, True, 2), (100, True, 4), (0, False, 5)]
    assert [key.number for key in turns.taken] == [1, 2, 3, 4, 5]


def test_a_turn_does_not_close_all_windows_of_a_week_either(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(window: Window, rules: Rules) -> list[ColumnDrift]:
        turns.kept.now += 1.5
        return of_reference(window, rules)

    monkeypatch.setattr("gateway.monitoring.drift.closing.of_reference", slow)
    for number in range(5):
        turns.kept.traffic.chunk(number * HOUR, 300)
    found = []
    for _ in range(4):
        turns.step()
        found.append((len(turns.kept.written()) // 2, turns.measuring.is_behind))
        turns.kept.restart()
        turns.measuring = Measuring(turns.kept.drift, turns.backlog, lambda: turns.kept.now)
    assert found == [(2, True), (4, True), (5, False), (5, False)]
    starts = [row["window_start"][11:13] for row in turns.kept.written()[::2]]
    assert starts == ["10", "11", "12", "13", "14"]


def test_a_turn_of_slow_chunks_takes_one_and_one_that_is_to_stop_none(turns: Turns) -> None:
    for number in range(2):
        turns.kept.traffic.chunk(number * 60, 10)
    turns.costs = 100.0
    turns.backlog.look(lambda: False)
    turns.measuring.step(turns.kept.settings, LATE, lambda: True)
    assert turns.taken == []
    turns.step()
    assert len(turns.taken) == 1


def test_windows_wait_for_rows_that_there_was_no_time_for(turns: Turns) -> None:
    """Also for one that was stamped a moment before its chunk was begun."""
    turns.kept.traffic.chunk(0, 300)
    turns.kept.traffic.chunk(60, 300)
    lines: list[Any] = [header(3, opened=at(HOUR + 0.001)), schema(list(NAMES), [0, 1])]
    lines.append(request(9, ts=at(HOUR - 0.001), instances=[[0.0, 0.0]]))
    write(turns.kept.state / "journal", lines)
    turns.costs = 1.5
    turns.step()
    assert turns.kept.written() == []
    turns.step()
    assert {row["n"] for row in turns.kept.written()} == {"601"}


def test_beyond_what_it_can_do_it_leaves_requests_out_and_says_how_many_rows(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_LAG", 1000)
    for number in range(1, 4):
        front_chunk(turns.kept.state / "journal", number, 1000)
    turns.step()
    status = turns.status()
    assert status["rows"]["prod"] + status["left_out_rows"] == 3000
    # Of 3,000 that wait one in three is taken, then of 2,000 one in two, then all.
    assert 1500 < status["rows"]["prod"] < 2160
    assert status["lag_rows"] == 0
    found = {row["column"]: row for row in turns.kept.written()}
    assert float(found["age"]["missing_rate"]) == pytest.approx(0.25, abs=0.04)
    turns.kept.restart()
    assert turns.kept.status()["left_out_rows"] == status["left_out_rows"]


def front_chunk(journal: Path, number: int, rows: int) -> None:
    """With its fields in the front's order; a quarter of the ages are missing."""
    lines: list[Any] = [header(number, opened=at(number)), schema(list(NAMES), [0, 1])]
    for row in range(rows):
        age = None if row % 4 == 0 else row / rows - 0.5
        fields = request(
            number * rows + row, ts=at(number), unit=f"{row:016x}", instances=[[age, 0.5]]
        )
        first = ("t", "ts", "request_id", "status", "latency_ms", "rows", "unit")
        ordered = {name: fields.pop(name) for name in first} | fields
        lines.append(msgspec.json.encode(ordered) + b"\n")
    write(journal, lines)


def test_a_chunk_that_a_defect_meets_is_passed_over_and_said(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take = turns.kept.drift.take

    def broken(file: Any, *more: Any) -> None:
        if file.key.number == 2:
            raise RuntimeError("cannot count")
        take(file, *more)

    monkeypatch.setattr(turns.kept.drift, "take", broken)
    for number in range(3):
        turns.kept.traffic.chunk(number * 60, 100)
    with caplog.at_level(logging.ERROR):
        turns.step()
    assert "chunk a1b2c3d4/2 is left out of drift" in caplog.text
    assert turns.status()["left_out_rows"] == 100
    assert {row["n"] for row in turns.kept.written()} == {"200"}
    assert not turns.measuring.holds(ChunkKey("a1b2c3d4", 2))


def test_a_chunk_that_is_gone_or_damaged_since_it_was_seen_holds_nothing_up(turns: Turns) -> None:
    gone, damaged = (turns.kept.traffic.chunk(number * 60, 100) for number in range(2))
    turns.kept.traffic.chunk(200, 300)
    turns.backlog.look(lambda: False)
    gone.unlink()
    damaged.write_bytes(b"half a hea")
    turns.measuring.step(turns.kept.settings, LATE, lambda: False)
    assert turns.status()["left_out_rows"] == 200
    assert turns.status()["rows"] == {"prod": 300}


def test_what_the_machine_refuses_is_raised_and_tried_again(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bool:
        raise StateError("the store failed: disk full")

    turns.kept.traffic.chunk(0, 300)
    with monkeypatch.context() as patch:
        patch.setattr(turns.kept.store, "remember", full)
        with pytest.raises(StateError):
            turns.step()
    turns.step()
    assert {row["n"] for row in turns.kept.written()} == {"300"}


def test_a_defect_in_a_report_is_said_and_raises_nothing(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no words")

    monkeypatch.setattr("gateway.monitoring.drift.keeper.document", broken)
    turns.kept.traffic.chunk(0, 300)
    with caplog.at_level(logging.ERROR):
        turns.step()
    assert "drift stands still" in caplog.text
    assert "no words" in turns.status()["trouble"]
    assert len(turns.kept.written()) == 2


def test_rows_that_wait_for_a_reference_hold_their_chunks_and_say_why(tmp_path: Path) -> None:
    with Kept(tmp_path / "state") as kept:
        turns = Turns(kept)
        kept.files.refusal = RemoteUnavailable("no route to it")  # type: ignore[attr-defined]
        for number in range(2):
            kept.traffic.chunk(number * 60, 300)
        turns.step()
        assert turns.status()["lag_rows"] == 600
        assert not turns.measuring.is_behind, "there is nothing to hurry for"
        assert "no route to it" in turns.status()["trouble"]
        report = json.loads((kept.state / "drift" / "prod.json").read_text())
        assert (report["state"], "no route" in report["trouble"]) == ("waiting", True)
        turns.confirm()
        assert len(turns.settle()) == 2
        kept.now += 700
        turns.step()
        assert turns.status()["trouble"] is None
        assert turns.settle() == []


def test_a_chunk_that_drift_needs_stays_until_there_is_no_room_and_then_is_counted(
    turns: Turns, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [turns.kept.traffic.chunk(number * 60, 100) for number in range(4)]
    turns.backlog.look(lambda: False)
    turns.confirm()
    assert turns.settle() == paths
    # Half of the journal's bound is room for two and a half of them.
    room = int(paths[0].stat().st_size * 2.5) * 2
    turns.kept.settings = settings_of(turns.kept.state, journal_bytes=room)
    with caplog.at_level(logging.WARNING):
        assert turns.settle() == paths[2:], "the oldest go"
    assert "chunk a1b2c3d4/1 had to go: its 100 rows are left out of drift" in caplog.text
    assert turns.status()["left_out_rows"] == 200
    turns.step()
    assert turns.status()["rows"] == {"prod": 200}
    assert turns.settle() == []
    assert turns.status()["left_out_rows"] == 200, "what was taken is not left out"


def test_under_target_none_rows_that_were_measured_are_not_left_out(tmp_path: Path) -> None:
    with Kept(tmp_path / "state", target="none", retention=60.0) as kept:
        bring_reference(kept.state, profile())
        turns = Turns(kept)
        kept.traffic.chunk(0, 100, target="none")
        turns.step()
        kept.traffic.chunk(60, 50, target="none")
        turns.backlog.look(lambda: False)
        assert turns.settle() == []
        assert (turns.status()["rows"], turns.status()["left_out_rows"]) == ({"prod": 100}, 50)


def test_chunks_that_are_gone_are_not_remembered(turns: Turns) -> None:
    """In memory: the front writes one after the other for months."""
    for number in range(20):
        turns.kept.traffic.chunk(number, 1)
        turns.step()
        turns.confirm()
        turns.settle()
    turns.step()
    assert turns.kept.drift._taken == set()


# In the monitor's round


@pytest.fixture
def monitor(tmp_path: Path, remote: Remote) -> Iterator[Monitor]:
    remote.commit("prod", {"README": "x"})
    state = tmp_path / "state"
    state.mkdir()
    bring_reference(state, profile())
    git = Git(state / "git", str(remote.path), {"PATH": os.environ["PATH"], "HOME": str(state)})
    git.prepare()
    with SqliteStore(state / "store.sqlite") as store:
        yield Monitor(
            settings_of(state),
            GitShelf(git),
            GitFiles(BranchData(git, state / "data")),
            store,
            Finishing(10.0),
            clock=lambda: 0.0,
            now=lambda: datetime.fromtimestamp(LATE, UTC),
            jitter=lambda: 0.5,
        )


@pytest.mark.parametrize("refusal", [OSError(28, "No space left"), StateError("locked")])
def test_rows_go_to_git_although_drift_cannot_be_measured(
    monitor: Monitor, remote: Remote, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    def refused(*_: object) -> None:
        raise refusal

    monkeypatch.setattr(Measuring, "step", refused)
    front_chunk(monitor.settings.state_dir / "journal", 1, 30)
    with pytest.raises(type(refusal)):
        monitor.step()
    assert len(pushed_rows(remote)) == 30


def test_an_open_chunk_whose_first_row_is_older_than_its_header_keeps_the_window_open(
    monitor: Monitor, remote: Remote
) -> None:
    journal = monitor.settings.state_dir / "journal"
    front_chunk(journal, 1, 300)
    lines: list[Any] = [header(2, opened=at(HOUR + 0.001)), schema(list(NAMES), [0, 1])]
    lines.append(request(9, ts=at(HOUR - 0.001), instances=[[0.0, 0.0]]))
    opened = write(journal, lines, suffix=".open")
    monitor.step()
    assert pushed_rows(remote, "drift") == []
    opened.rename(opened.with_suffix(".jsonl"))
    monitor.step()
    monitor.last_step()
    assert {row.split(",")[7] for row in pushed_rows(remote, "drift")} == {"301"}
