"""Roles, contents and metrics change while counting goes on: nothing is lost, mixed or stuck."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from experimenting import SPAN, Monitor, told
from journalling import DEV, EXP, METRICS, PROD, World, counted_anew, fingerprint

from gateway.experiments.metrics import Metric


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal", seed=11, users=200)


@pytest.fixture
def monitor(tmp_path: Path, world: World) -> Iterator[Monitor]:
    monitor = Monitor(tmp_path, world)
    monitor.serves()
    yield monitor
    monitor.end()


def measure(monitor: Monitor, *metrics: Metric) -> None:
    """gateway.yaml is edited."""
    experiment = msgspec.structs.replace(monitor.settings.experiment, metrics=metrics)
    monitor.settings = msgspec.structs.replace(monitor.settings, experiment=experiment)
    monitor.step()


def edited(name: str, **changes: Any) -> list[Metric]:
    return [msgspec.structs.replace(one, **changes) if one.name == name else one for one in METRICS]


def labelled_copy(world: World) -> None:
    """A request of prod that dev had a copy of, and its label."""
    shadow = {"branch": DEV, "assigned": DEV, "reason": "shadow", "commit": "d" * 40}
    unit = f"{len(world.lines):016x}"
    request = world.serve(
        status="ok", reason="split", rows=1, branch=PROD, assigned=PROD, unit=unit
    )
    world.write({**request, **shadow, "fingerprint": fingerprint("d")})
    world.told(request["request_id"], "accuracy", label="1")


def test_a_shadow_becomes_an_arm_and_a_shadow_again(world: World, monitor: Monitor) -> None:
    world.contents[DEV] = fingerprint("d")
    monitor.serves()
    world.weights = {PROD: 1.0}
    for _ in range(9):
        world.now += 0.5
        labelled_copy(world)
    monitor.later(30)
    (shadow,) = [one for one in monitor.document().contrasts if one.candidate == "dev"]
    assert (shadow.shadow, shadow.paired[0].rows, shadow.metrics) == (True, 9, ())
    world.weights = {PROD: 50.0, DEV: 50.0}
    world.live(40)
    labelled_copy(world)  # begun before, while it was no arm yet
    monitor.later(30)
    (arm,) = [one for one in monitor.document().contrasts if one.candidate == "dev"]
    assert arm.contrast == shadow.contrast
    assert not arm.shadow
    assert arm.paired[0].rows == 10
    assert arm.metrics[0].candidate.units > 50
    units = arm.metrics[0].candidate.units
    world.weights = {PROD: 1.0}
    labelled_copy(world)
    monitor.later(30)
    (after,) = [one for one in monitor.document().contrasts if one.candidate == "dev"]
    assert (after.metrics[0].candidate.units, after.paired[0].rows) == (units, 11)


def test_outcomes_go_where_their_request_was_counted_when_another_branch_is_the_baseline(
    world: World, monitor: Monitor
) -> None:
    """Which is no part of an epoch's digest: weights and contents are the same."""
    world.live(20)
    monitor.step()
    world.baseline = EXP
    world.live(20)
    monitor.step()
    world.baseline = PROD
    world.live(20)
    monitor.step()
    expected = counted_anew(world.lines, SPAN)
    assert len({key[0] for key in expected}) == 2
    assert len({key[2] for key in expected}) == 1
    assert told(monitor.cells()) == expected


def test_users_counted_by_a_former_limit_are_counted_anew(world: World, monitor: Monitor) -> None:
    def slow() -> int:
        cells = monitor.cells().items()
        return sum(cell.events for key, cell in cells if key.metric == "latency_over_slo")

    here: dict[str, Any] = {"status": "ok", "reason": "split", "unit": "00000000000000aa"}
    world.now += 1
    world.serve(latency_ms=900.0, **here)
    monitor.step()
    assert slow() == 1
    measure(monitor, *edited("latency_over_slo", slo=0.1))
    assert slow() == 0
    world.now += SPAN
    world.serve(latency_ms=900.0, **here)
    monitor.step()
    assert slow() == 1


def test_a_metric_that_is_taken_away_is_read_out_no_more_and_stops_nothing(
    world: World, monitor: Monitor
) -> None:
    world.live(15)
    monitor.step()
    measure(monitor, *METRICS[1:])
    monitor.later(1)
    assert "conversion" not in {one.name for one in monitor.readout().metrics}
    world.live(15)
    monitor.later(60)
    monitor.finish()
    assert "conversion" not in {one.name for one in monitor.readout().metrics}
    assert {row["metric"] for row in monitor.rows("results")} >= {"revenue", "error_rate"}


def test_a_metric_that_comes_back_as_another_one_begins_anew(
    world: World, monitor: Monitor
) -> None:
    world.live(30)
    monitor.later(30)
    monitor.finish()
    measure(monitor, *METRICS[1:])
    assert [key for key in monitor.cells() if key.metric == "conversion"]
    back = world.now
    measure(monitor, *edited("conversion", kind="mean"))
    world.live(30)
    monitor.later(30)
    found = [key.start for key in monitor.cells() if key.metric == "conversion"]
    assert found
    assert min(found) >= back


def test_what_was_new_to_a_content_is_written_by_terms_that_name_it(
    world: World, monitor: Monitor
) -> None:
    """Rows of a content come until long after it was replaced, also of a metric it had last."""
    added = Metric("clicks", "mean", window=15.0)
    world.live(5)
    monitor.later(11)
    measure(monitor, *METRICS, added)
    world.now += 4
    world.live(1.5)  # nothing else is written meanwhile
    monitor.step()
    world.contents[EXP] = fingerprint("e")
    monitor.serves()
    monitor.step()
    monitor.later(60)
    monitor.finish()
    rows = [row for row in monitor.rows("results") if row["metric"] == "clicks"]
    assert {row["fingerprint"] for row in rows} == {fingerprint("a"), fingerprint("b")}


def test_units_are_there_until_the_last_outcome_of_theirs_however_short_rows_are_kept(
    tmp_path: Path, world: World
) -> None:
    day = 86400.0
    monitor = Monitor(tmp_path, world, metrics=(Metric("revenue", "mean", window=3 * day),))
    kept = msgspec.structs.replace(monitor.settings.monitoring, retention=day)
    monitor.settings = msgspec.structs.replace(monitor.settings, monitoring=kept)
    monitor.serves()
    world.live(20)
    told = world.requests[-1]
    for _ in range(9):
        monitor.later(day / 3)
    world.now -= 60
    world.told(told["request_id"], "revenue", value=8.0, late=False)
    world.now += 4000
    monitor.step()
    (metric,) = monitor.readout().metrics
    assert metric.baseline.units + metric.candidate.units > 50
    assert metric.baseline.outcomes + metric.candidate.outcomes > 20
    assert metric.as_of is not None
    monitor.end()
