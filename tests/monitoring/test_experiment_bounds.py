"""What experiments remember stays within its bound, and what is let go is let go by hash alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from experimenting import SPAN, Monitor, told
from journalling import DEV, EXP, PROD, World, counted_anew, fingerprint

from gateway.experiments.metrics import Metric
from gateway.monitoring.experiments import book
from gateway.names import RequestId

MOST = 1500


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal", seed=5, users=400)


@pytest.fixture
def monitor(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Monitor]:
    monkeypatch.setattr(book, "MOST_INDEXED", MOST)
    monitor = Monitor(tmp_path, world)
    monitor.serves()
    yield monitor
    monitor.end()


def kept(monitor: Monitor) -> int:
    state: dict[str, Any] = json.loads(monitor.ledger.recall("experiment")["state"])
    return int(state["kept"])


def test_only_what_is_kept_is_indexed(world: World, monitor: Monitor) -> None:
    world.contents[DEV] = fingerprint("d")
    for _ in range(12):
        world.live(10)
        request = world.serve(status="ok", assigned=PROD, branch=PROD)
        shadow = {"branch": DEV, "assigned": DEV, "reason": "shadow"}
        world.write({**request, **shadow, "fingerprint": fingerprint("d")})
        monitor.step()
    first = kept(monitor)
    assert first < 256
    since = len(world.requests)
    world.live(10)
    monitor.step()
    for request in world.requests[since:]:
        unit, identity = request["unit"], request["request_id"]
        bucket = int(unit[:2] if unit else identity[-2:], 16)
        there = monitor.ledger.exposure(identity) is not None
        assert there == (bucket < kept(monitor))
    # So an index that has room keeps it: the part is halved when there are more units, not hours.
    assert monitor.ledger.size() <= MOST
    shadows = [line for line in world.lines if line.get("reason") == "shadow"]
    left = [one for one in shadows if monitor.ledger.shadow_answers(one["request_id"])]
    assert len(left) < len(shadows)
    assert all(monitor.ledger.exposure(one["request_id"]) is not None for one in left)


def test_sums_of_the_buckets_that_are_kept_are_what_the_journal_says(
    world: World, monitor: Monitor
) -> None:
    for _ in range(15):
        world.live(8)
        monitor.step()
        monitor.kill()
    most = kept(monitor)
    assert 1 < most < 256

    def of_kept(cells: dict[tuple[Any, ...], dict[str, Any]]) -> dict[tuple[Any, ...], Any]:
        found = {}
        for key, cell in cells.items():
            sums = [
                {bucket: one for bucket, one in cell[name].items() if bucket < most}
                for name in ("values", "counts")
            ]
            if any(sums):
                found[key] = sums
        return found

    assert of_kept(told(monitor.cells())) == of_kept(counted_anew(world.lines, SPAN))


def test_outcomes_of_nobody_s_requests_cost_no_unit_its_place(
    world: World, monitor: Monitor
) -> None:
    world.live(5)
    for _ in range(10):
        world.now += 70
        for _ in range(MOST // 4):
            nobody = RequestId.build(round(world.now * 1000), world.random.getrandbits(74))
            world.told(nobody, "revenue", value=1.0)
        monitor.step()
    monitor.later(700)
    world.live(5)
    monitor.later(1)
    assert kept(monitor) == 256
    assert monitor.ledger.size() <= MOST
    assert monitor.document().feedback.unknown >= 10 * (MOST // 4)


def test_contents_that_come_when_there_is_room_again_are_told_by_all_units(
    world: World, monitor: Monitor
) -> None:
    for _ in range(12):
        world.live(10)
        monitor.step()
    former = monitor.readout()
    assert former.kept < 1
    for _ in range(8):
        monitor.later(4000)
    assert kept(monitor) < 256  # the contents are served, and their units are in the way
    world.now += 16 * 86400
    for _ in range(8):
        monitor.later(4000)
    assert kept(monitor) == 256
    world.contents[EXP] = fingerprint("e")
    monitor.serves()
    world.live(3)
    monitor.later(1)
    assert monitor.readout().kept == 1
    assert max(bucket for cell in monitor.cells().values() for bucket in cell.counts) > 200


def test_time_spans_get_longer_before_there_are_too_many(tmp_path: Path, world: World) -> None:
    """With outcomes that come within a second, each span would be one for ever."""
    monitor = Monitor(tmp_path, world, metrics=(Metric("revenue", "mean", window=1.0),))
    monitor.serves()
    for turn in range(2000):
        world.now += 20
        request = world.serve(status="ok", reason="split", rows=1)
        world.told(request["request_id"], "revenue", value=1.0)
        if turn % 40 == 0:
            monitor.step()
    monitor.later(600)
    cells = monitor.cells()
    assert len({(key.start, key.end) for key in cells}) < 1300
    spans = {key.end - key.start for key in cells}
    assert spans == {2**power for power in range(max(spans).bit_length())}
    assert max(spans) == 128
    revenue = [cell for key, cell in cells.items() if key.metric == "revenue"]
    assert sum(sum(cell.values.values()) for cell in revenue) == 2000
    users = {line["unit"] for line in world.requests}
    exposed = [cell for key, cell in cells.items() if key.metric == "exposure"]
    assert sum(cell.events for cell in exposed) == len(users)
    (metric,) = monitor.readout().metrics
    assert metric.baseline.units + metric.candidate.units == len(users)
    monitor.end()


def test_a_contrast_never_counts_more_units_than_it_began_with(
    world: World, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(12):
        world.live(10)
        monitor.step()
    before = kept(monitor)
    assert before < 256
    monkeypatch.setattr(book, "MOST_INDEXED", 1_000_000)
    for _ in range(8):
        monitor.later(4000)
    assert kept(monitor) == 256
    begun = world.now
    world.live(20)
    monitor.later(40)
    fresh = [cell for key, cell in monitor.cells().items() if key.end > begun]
    assert any(cell.counts for cell in fresh)
    assert all(bucket < before for cell in fresh for bucket in (*cell.values, *cell.counts))
    assert monitor.readout().kept == before / 256
