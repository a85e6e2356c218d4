"""The keeper of experiments: what it joins, writes, shows, forgets and does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from experimenting import SPAN, Monitor, told
from journalling import BEGUN, DEV, EXP, PROD, WINDOWS, World, counted_anew, fingerprint

from gateway.experiments.document import ContrastReadout
from gateway.experiments.metrics import Metric, built_in
from gateway.experiments.recomputed import recomputed
from gateway.experiments.rows import parse_rows
from gateway.monitoring.experiments import book
from gateway.names import RequestId


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal", seed=3, users=400)


@pytest.fixture
def monitor(tmp_path: Path, world: World) -> Iterator[Monitor]:
    monitor = Monitor(tmp_path, world)
    monitor.serves()
    yield monitor
    monitor.end()


def mature(readout: ContrastReadout) -> ContrastReadout:
    """Without what only the running gateway can know."""
    metrics = tuple(msgspec.structs.replace(one, pending_units=0) for one in readout.metrics)
    return msgspec.structs.replace(readout, metrics=metrics, guardrails=())


def in_git(monitor: Monitor) -> dict[str, ContrastReadout]:
    """The read-outs that the written rows alone make, by contrast."""
    texts = [(one.path, one.content.decode()) for one in monitor.segments("results")]
    parsed = parse_rows(texts)
    assert parsed.bad == []
    return {one.contrast: mature(one) for one in recomputed(parsed.rows)}


def test_the_rows_alone_say_what_the_running_gateway_says(world: World, monitor: Monitor) -> None:
    world.live(80, each=0.02)
    monitor.step()
    world.weights = {PROD: 70.0, EXP: 30.0}
    world.live(60, each=0.02)
    monitor.step()
    world.contents[EXP] = fingerprint("e")
    monitor.serves()
    world.live(80, each=0.02)
    monitor.step()
    monitor.later(60)
    monitor.finish()
    live = {one.contrast: mature(one) for one in monitor.document().contrasts}
    assert in_git(monitor) == live
    current = monitor.readout()
    assert [len(one.epochs) for one in live.values()] == [1, 2]
    assert min(one.looks for one in current.metrics) >= 8
    assert any(one.difference is not None for one in current.metrics)


def test_each_cell_is_written_once_when_nothing_can_come_any_more(
    world: World, monitor: Monitor
) -> None:
    world.live(25)
    monitor.step()
    # Of the first span of ten seconds: what needs no outcomes, and those awaited for ten seconds.
    monitor.finish()
    assert {(row["metric"], row["start"][17:19]) for row in monitor.rows("results")} == {
        *(("exposure", start) for start in ("00", "10")),
        *((one, start) for one in BUILT for start in ("00", "10")),
        ("accuracy", "00"),
    }
    monitor.later(40)
    monitor.finish()
    keys = ("contrast", "start", "epoch", "arm", "metric")
    written = [tuple(row[key] for key in keys) for row in monitor.rows("results")]
    assert len(set(written)) == len(written) == 2 * 8 * 3
    assert {row["candidate"] for row in monitor.rows("results")} == {"exp"}
    assert {one.branch for one in monitor.segments("results")} == {"exp"}


BUILT = ("error_rate", "latency_over_slo", "fallback_rate", "timeout_rate")


def test_what_comes_after_its_row_is_a_row_that_is_added(world: World, monitor: Monitor) -> None:
    """As from a front that was held up between taking a row's time and writing it."""
    world.live(15)
    monitor.later(10)
    before = monitor.cells()
    monitor.finish()
    rows = len(monitor.rows("results"))
    now, world.now = world.now, BEGUN + 5.0
    late = world.serve(status="ok", reason="split", latency_ms=1.0)
    world.now = now + 5
    monitor.step()
    assert told(monitor.cells()) != told(before)
    monitor.finish()
    added = monitor.rows("results")[rows:]
    mine = [row for row in added if row["metric"] == "exposure" and row["start"][17:19] == "00"]
    assert [(row["arm"], json.loads(row["sums"])["tallies"]["requests"]) for row in mine] == [
        (late["assigned"], 1)
    ]
    assert told(monitor.cells()) == counted_anew(world.lines, SPAN)
    assert in_git(monitor) == {one.contrast: mature(one) for one in monitor.document().contrasts}


def test_every_outcome_ends_as_one_thing_and_is_told(world: World, monitor: Monitor) -> None:
    world.now += 0.1
    served = world.serve(status="ok", reason="split", rows=2)
    failed = world.serve(status="error", reason="split", rows=1)
    world.now += 1
    nobody = RequestId.build(round(world.now * 1000), 5)
    world.told(served["request_id"], "conversion", value=1.0)
    world.told(served["request_id"], "conversion", value=0.0)
    world.told(served["request_id"], "conversion", row=1, value=1.0)
    world.told(served["request_id"], "revenue", row=2, value=1.0)
    world.told(failed["request_id"], "conversion", value=1.0)
    world.told(failed["request_id"], "accuracy", label="1")
    world.told(nobody, "conversion", value=1.0)
    world.now += 25
    world.told(served["request_id"], "accuracy", label="0")
    monitor.step()
    assert sorted(monitor.outcomes(served["request_id"])) == [
        ("accuracy", "late", 0),
        ("conversion", "accepted", 0),
        ("conversion", "accepted", 1),
        ("revenue", "unknown", 0),
    ]
    assert monitor.outcomes(failed["request_id"]) == [
        ("accuracy", "unknown", 0),
        ("conversion", "accepted", 0),
    ]
    assert monitor.outcomes(nobody) == [("conversion", "waiting", 0)]
    monitor.later(560)
    assert monitor.outcomes(nobody) == [("conversion", "waiting", 0)]
    monitor.later(60)
    assert monitor.outcomes(nobody) == [("conversion", "unknown", 0)]
    counts = monitor.document().feedback
    assert (counts.accepted, counts.duplicate, counts.late) == (3, 1, 1)
    assert (counts.unknown, counts.waiting) == (3, 0)
    monitor.finish()
    rows = monitor.rows("outcomes")
    assert sorted((row["metric"], row["row"], row["value"], row["status"]) for row in rows) == [
        ("accuracy", "0", "", "late"),
        ("conversion", "0", "1.0", "accepted"),
        ("conversion", "0", "1.0", "accepted"),
        ("conversion", "1", "1.0", "accepted"),
    ]
    assert {row["branch"] for row in rows} <= {"prod", "exp"}


def test_a_metric_tells_of_its_outcomes_that_came_late_or_again(
    world: World, monitor: Monitor
) -> None:
    world.now += 0.1
    request = world.serve(status="ok", reason="split", rows=2)
    for row in (0, 0, 0):
        world.told(request["request_id"], "revenue", row=row, value=1.0)
    world.now += 31
    for row in (1, 1):
        world.told(request["request_id"], "revenue", row=row, value=1.0)
    monitor.step()
    monitor.later(60)
    monitor.finish()
    (metric,) = [one for one in monitor.readout().metrics if one.name == "revenue"]
    assert (metric.late, metric.duplicate) == (2, 2)
    assert metric.baseline.outcomes + metric.candidate.outcomes == 1


#: What may be read of an outcome that was told twice in time and once too late, in any order: its
#: request, and what each front was told.
ORDERS = sorted(set(itertools.permutations(("request", "in time", "in time", "late"))))


@pytest.mark.parametrize("order", ORDERS, ids=", ".join)
def test_what_came_too_late_takes_nothing_from_what_came_in_time(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    """Rows of several fronts are read in any order."""
    world = World(tmp_path / "journal", seed=3, users=400)
    monitor = Monitor(tmp_path, world)
    monitor.serves()
    world.now += 1
    request = world.serve(status="ok", reason="split")
    world.journal.seal()
    sealed = next(world.folder.glob("*/*.jsonl"))
    hidden = sealed.rename(sealed.with_suffix(".away"))
    told = world.now + 1
    for what in order:
        if what == "request":
            hidden.rename(sealed)
        else:
            world.now = told + (WINDOWS["revenue"] if what == "late" else 0)
            world.told(request["request_id"], "revenue", value=2.0)
        monitor.step()
    monitor.later(60)
    monitor.finish()
    counts = monitor.document().feedback
    assert (counts.accepted, counts.late, counts.duplicate, counts.waiting) == (1, 1, 1, 0)
    (metric,) = [one for one in monitor.readout().metrics if one.name == "revenue"]
    assert (metric.late, metric.duplicate) == (1, 1)
    assert metric.baseline.outcomes + metric.candidate.outcomes == 1
    assert [row["status"] for row in monitor.rows("outcomes")].count("accepted") == 1
    assert monitor.outcomes(request["request_id"]) == [("revenue", "accepted", 1)]
    monitor.end()


def test_an_outcome_waits_for_a_request_of_another_front(world: World, monitor: Monitor) -> None:
    world.now += 1
    request = world.serve(status="ok", reason="split")
    world.journal.seal()
    sealed = next(world.folder.glob("*/*.jsonl"))
    hidden = sealed.rename(sealed.with_suffix(".away"))
    world.told(request["request_id"], "conversion", value=1.0)
    monitor.step()
    assert monitor.outcomes(request["request_id"]) == [("conversion", "waiting", 0)]
    hidden.rename(sealed)
    monitor.later(1)
    assert monitor.outcomes(request["request_id"]) == [("conversion", "accepted", 0)]
    assert told(monitor.cells()) == counted_anew(
        sorted(world.lines, key=lambda line: line["t"] == "outcome"), SPAN
    )


def test_a_late_outcome_and_repeats_that_come_before_their_request_are_told_of_it(
    world: World, monitor: Monitor
) -> None:
    """The other front was cut off for longer than outcomes count."""
    world.now += 1
    request = world.serve(status="ok", reason="split")
    world.journal.seal()
    sealed = next(world.folder.glob("*/*.jsonl"))
    hidden = sealed.rename(sealed.with_suffix(".away"))
    identity = request["request_id"]
    world.told(identity, "conversion", value=1.0)
    world.told(identity, "conversion", value=1.0)
    world.now += WINDOWS["revenue"] + 1
    world.told(identity, "revenue", value=2.0)
    monitor.step()
    assert monitor.outcomes(identity) == [("conversion", "waiting", 1), ("revenue", "late", 0)]
    hidden.rename(sealed)
    monitor.later(1)
    assert monitor.outcomes(identity) == [("conversion", "accepted", 1), ("revenue", "late", 0)]
    counts = monitor.document().feedback
    assert (counts.accepted, counts.late, counts.duplicate, counts.waiting) == (1, 1, 1, 0)
    tallies = {key.metric: cell.tallies for key, cell in monitor.cells().items()}
    assert tallies["conversion"]["duplicate"] == 1
    assert tallies["revenue"] == {"late": 1}
    monitor.finish()
    written = [(row["metric"], row["status"]) for row in monitor.rows("outcomes")]
    assert written == [("conversion", "accepted"), ("revenue", "late")]


@pytest.mark.parametrize("label_first", [True, False])
def test_one_label_scores_every_branch_that_predicted_the_row(
    world: World, monitor: Monitor, *, label_first: bool
) -> None:
    world.weights = {PROD: 1.0}
    world.contents[DEV] = fingerprint("d")
    world.now += 1
    request = world.serve(status="ok", reason="split", rows=2, assigned=PROD, branch=PROD)
    shadow = {**request, "branch": DEV, "assigned": DEV, "reason": "shadow", "commit": "d" * 40}
    shadow |= {"fingerprint": fingerprint("d")}
    shadow["predictions"] = [1 - one for one in request["predictions"]]
    right = request["predictions"]
    if not label_first:
        world.write(shadow)
    world.told(request["request_id"], "accuracy", row=0, label=str(right[0]))
    world.told(request["request_id"], "accuracy", row=1, label=str(1 - right[1]))
    if label_first:
        monitor.step()
        world.write(shadow)
    monitor.step()
    (cell,) = [one for key, one in monitor.cells().items() if key.metric == "paired:accuracy"]
    bucket = int(request["unit"][:2], 16)
    assert (cell.events, cell.values, cell.counts) == (2, {bucket: 0.0}, {bucket: 2.0})
    monitor.later(60)
    monitor.finish()
    rows = [(one["branch"], one["row"], one["value"]) for one in monitor.rows("outcomes")]
    assert sorted(rows) == [
        ("dev", "0", "0.0"),
        ("dev", "1", "1.0"),
        ("prod", "0", "1.0"),
        ("prod", "1", "0.0"),
    ]
    monitor.serves()
    monitor.later(1)
    (paired,) = monitor.readout().paired
    assert (paired.metric, paired.rows, paired.differing) == ("accuracy", 2, 2)
    assert in_git(monitor)[monitor.readout().contrast].paired == (paired,)


def test_an_arm_may_become_a_shadow_with_the_same_content_and_an_arm_again(
    world: World, monitor: Monitor
) -> None:
    world.live(30)
    monitor.step()
    assert not monitor.readout().shadow
    split = world.weights
    world.weights = {PROD: 1.0}
    rows = 0
    for _ in range(30):
        world.now += 1
        request = world.serve(status="ok", reason="split", rows=1, assigned=PROD, branch=PROD)
        world.write(
            {
                **request,
                "branch": EXP,
                "assigned": EXP,
                "reason": "shadow",
                "commit": "e" * 40,
                "fingerprint": world.contents[EXP],
            }
        )
        world.told(request["request_id"], "accuracy", label=str(request["predictions"][0]))
        rows += request["unit"] is not None
    monitor.step()
    monitor.later(60)
    monitor.finish()
    shadow = monitor.readout()
    assert not shadow.shadow  # what it showed as an arm is shown still
    assert [one.rows for one in shadow.paired] == [rows]
    assert sum(one.candidate.units for one in shadow.metrics) > 0
    assert in_git(monitor) == {shadow.contrast: mature(shadow)}
    world.weights = split
    world.live(30)
    monitor.later(60)
    monitor.finish()
    again = monitor.readout()
    assert not again.shadow
    assert again.contrast == shadow.contrast
    assert again.paired[0].rows == rows
    assert in_git(monitor) == {again.contrast: mature(again)}


def test_beyond_its_bound_the_index_keeps_a_fixed_part_of_the_units(
    world: World, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "MOST_INDEXED", 1500)
    for _ in range(20):
        world.live(20, each=0.1)
        monitor.step()
        assert monitor.ledger.size() <= 1500 + 600
    state = json.loads(monitor.ledger.recall("experiment")["state"])
    kept = state["kept"]
    assert 1 <= kept <= 64
    monitor.step()
    last = [cell for key, cell in monitor.cells().items() if key.start >= BEGUN + 380]
    assert last
    assert all(bucket < kept for cell in last for bucket in (*cell.values, *cell.counts))
    assert any(cell.values for cell in last)
    assert monitor.readout().kept == kept / 256
    assert any("units" in one and "kept" in one for one in monitor.readout().warnings)


def test_a_metric_that_is_edited_begins_anew(world: World, monitor: Monitor) -> None:
    world.live(30)
    monitor.step()
    metrics = tuple(
        msgspec.structs.replace(one, kind="mean") if one.name == "conversion" else one
        for one in monitor.settings.experiment.metrics
    )
    experiment = msgspec.structs.replace(monitor.settings.experiment, metrics=metrics)
    monitor.settings = msgspec.structs.replace(monitor.settings, experiment=experiment)
    monitor.step()
    assert not [key for key in monitor.cells() if key.metric == "conversion"]
    edited = world.now
    world.live(30)
    monitor.later(60)
    found = {key.start for key in monitor.cells() if key.metric == "conversion"}
    assert found
    assert min(found) >= edited
    others = {key.start for key in monitor.cells() if key.metric == "revenue"}
    assert min(others) == BEGUN


def test_a_metric_that_is_measured_no_more_is_written_as_what_it_was(
    world: World, monitor: Monitor
) -> None:
    world.live(30)
    monitor.step()
    before = monitor.settings
    fewer = tuple(
        one for one in before.experiment.metrics if one.name not in ("conversion", "accuracy")
    )
    monitor.settings = msgspec.structs.replace(
        before, experiment=msgspec.structs.replace(before.experiment, metrics=fewer)
    )
    world.live(30)
    monitor.later(60)
    monitor.finish()
    assert {one.name for one in monitor.readout().metrics} == {one.name for one in fewer}
    rows = [row for row in monitor.rows("results") if row["metric"] == "conversion"]
    was = next(one for one in before.experiment.metrics if one.name == "conversion")
    assert {row["start"][17:19] for row in rows} == {"00", "10", "20", "30"}
    assert {json.loads(row["terms"])["metric"]["kind"] for row in rows} == {was.kind}
    assert in_git(monitor) == {one.contrast: mature(one) for one in monitor.document().contrasts}


def test_a_metric_that_comes_back_as_another_begins_anew(world: World, monitor: Monitor) -> None:
    world.live(30)
    monitor.step()
    before = monitor.settings

    def measure(metrics: tuple[Metric, ...]) -> None:
        experiment = msgspec.structs.replace(before.experiment, metrics=metrics)
        monitor.settings = msgspec.structs.replace(before, experiment=experiment)
        monitor.step()

    others = tuple(one for one in before.experiment.metrics if one.name != "conversion")
    measure(others)
    assert [key for key in monitor.cells() if key.metric == "conversion"]
    measure((*others, Metric("conversion", "mean", role="secondary", window=10.0)))
    assert not [key for key in monitor.cells() if key.metric == "conversion"]


def test_what_git_keeps_no_more_is_forgotten(world: World, monitor: Monitor) -> None:
    world.live(20)
    monitor.later(60)
    monitor.finish()
    assert monitor.cells()
    world.now += 13 * 86400
    world.live(20)
    monitor.later(61)
    old = [key for key in monitor.cells() if key.end < BEGUN + 100]
    assert old
    world.now += 2 * 86400
    monitor.later(61)
    world.contents[EXP] = fingerprint("e")
    world.live(5)
    monitor.later(61)
    assert not [key for key in monitor.cells() if key.end < BEGUN + 100]
    assert [key for key in monitor.cells() if key.end > BEGUN + 100]
    world.now += 16 * 86400
    monitor.later(61)
    monitor.later(61)
    assert monitor.cells() == {}
    assert monitor.ledger.recall("experiment contrasts") == {}
    assert monitor.ledger.size() == 0


def test_a_branch_that_is_still_loading_after_a_start_does_no_harm(
    world: World, monitor: Monitor
) -> None:
    world.now += 1
    loading: dict[str, Any] = {"status": "fallback_not_ready", "branch": PROD}
    here: dict[str, Any] = {"assigned": EXP, "reason": "split", "latency_ms": 1.0}

    def events() -> dict[str, int]:
        found = {key.metric: cell.events for key, cell in monitor.cells().items() if cell.events}
        return {name: found[name] for name in found if name != "exposure"}

    for _ in range(5):
        world.serve(**here, **loading)
    monitor.step()
    assert events() == {}
    world.serve(**here, status="ok", branch=EXP)
    monitor.step()
    monitor.kill()
    world.serve(**here, **loading)
    monitor.step()
    assert events() == {"fallback_rate": 1}


def test_a_candidate_that_fails_gets_no_users_until_it_is_released(
    world: World, monitor: Monitor
) -> None:
    sent = 0
    monitor.step()
    while "exp" not in monitor.allocation() and sent < 200:
        world.now += 0.6
        world.serve(broken=EXP, reason="split")
        sent += 1
        monitor.step()
    assert sent < 60
    order = monitor.allocation()["exp"]
    assert (order["state"], order["share"]) == ("ejected", 0)
    assert order["fingerprint"] == world.contents[EXP]
    monitor.kill()
    monitor.later(1)
    assert monitor.allocation()["exp"]["state"] == "ejected"
    monitor.finish()
    (decision,) = [
        row for row in monitor.rows("decisions") if row["decision"] == "guardrail_breached"
    ]
    evidence = json.loads(decision["evidence"])
    assert "error_rate" in decision["evidence"]
    assert evidence
    assert monitor.document().allocation["exp"].state == "ejected"


def test_a_metric_of_latency_follows_its_slo(tmp_path: Path, world: World) -> None:
    slow = msgspec.structs.replace(built_in("latency_over_slo"), slo=0.01)
    monitor = Monitor(tmp_path, world, metrics=(slow,))
    world.now += 1
    world.serve(status="ok", reason="split", latency_ms=10.0)
    world.serve(status="ok", reason="split", latency_ms=10.5)
    monitor.step()
    found = [one for key, one in monitor.cells().items() if key.metric == "latency_over_slo"]
    assert sum(one.tallies.get("requests", 0) for one in found) == 1
    monitor.end()
