"""A turn of the keeper of experiments ends in time, and at any time of the clock."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from experimenting import SPAN, Monitor, told
from journalling import BEGUN, EXP, World, counted_anew

from gateway.monitoring.experiments import outgoing
from gateway.monitoring.experiments.keeper import Experiments


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal", seed=9)


@pytest.fixture
def monitor(tmp_path: Path, world: World) -> Iterator[Monitor]:
    monitor = Monitor(tmp_path, world)
    monitor.serves()
    yield monitor
    monitor.end()


def test_what_is_known_is_acted_upon_before_all_is_read(world: World, monitor: Monitor) -> None:
    """The monitor comes back after hours, and the candidate fails."""
    for _ in range(8):
        for _ in range(60):
            world.now += 0.1
            world.serve(broken=EXP, reason="split")
        world.journal.seal()
    ticks = itertools.count()
    keeper = Experiments(
        monitor.ledger, now=lambda: world.now, clock=lambda: float(next(ticks)) / 2
    )
    turns = [keeper.step(monitor.settings, lambda: False)]
    assert turns == [False]
    turns += [keeper.step(monitor.settings, lambda: False) for _ in range(2)]
    assert monitor.allocation()["exp"]["state"] == "ejected"
    assert turns == [False] * 3
    while not keeper.step(monitor.settings, lambda: False):
        pass
    assert told(monitor.cells()) == counted_anew(world.lines, SPAN)


def test_the_end_takes_all_that_is_there_and_stops_when_its_time_is_over(
    world: World, monitor: Monitor
) -> None:
    for _ in range(8):
        world.live(5)
        world.journal.seal()
    ticks = itertools.count()
    keeper = Experiments(monitor.ledger, now=lambda: world.now, clock=lambda: float(next(ticks)))
    keeper.finish(monitor.settings, lambda: True)
    assert 0 < len(told(monitor.cells())) < len(counted_anew(world.lines, SPAN))
    keeper.finish(monitor.settings, lambda: False)
    assert told(monitor.cells()) == counted_anew(world.lines, SPAN)
    assert monitor.rows("results")


def test_a_clock_that_was_ahead_makes_nothing_mature_before_its_time(
    world: World, monitor: Monitor
) -> None:
    monitor.later(100_000)
    world.now = BEGUN + 60
    world.live(25)
    monitor.step()
    monitor.finish()
    written = {(row["metric"], row["start"][14:19]) for row in monitor.rows("results")}
    assert {start for metric, start in written if metric == "exposure"} == {"01:00", "01:10"}
    assert {start for metric, start in written if metric == "conversion"} == set()


def test_a_clock_that_is_put_back_costs_no_row_and_counts_none_twice(
    world: World, monitor: Monitor
) -> None:
    world.live(30)
    monitor.later(40)
    monitor.finish()
    world.now -= 50
    world.live(15)
    monitor.step()
    monitor.later(60)
    monitor.finish()
    assert told(monitor.cells()) == counted_anew(world.lines, SPAN)
    units = sum(
        int(row["events"]) for row in monitor.rows("results") if row["metric"] == "exposure"
    )
    assert units == len(
        {
            line["unit"]
            for line in world.lines
            if line["t"] == "request" and line["reason"] == "split" and line["unit"]
        }
    )


def test_a_flush_takes_all_rows_however_many(
    world: World, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "_MOST_LINES", 7)
    world.live(30)
    monitor.step()
    monitor.finish()
    rows = monitor.rows("outcomes")
    feedback = json.loads(monitor.ledger.recall("experiment")["state"])["feedback"]
    assert len(rows) == feedback["accepted"] > 50
    assert monitor.ledger.take_lines(1) == []
    assert max(one.rows for one in monitor.segments("outcomes")) <= 7
