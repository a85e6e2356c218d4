"""Guardrails of a contrast: harm is seen at once, and what is no harm is left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from experimentcells import EPOCH, HOUR, Cells, drawn, evidence, key

from gateway.experiments.cells import Cell
from gateway.experiments.document import GuardrailReadout
from gateway.experiments.evidence import Evidence
from gateway.experiments.metrics import EXPOSURE, Metric, built_in
from gateway.experiments.readout import Terms, read_out
from gateway.names import BUCKETS
from gateway.statistics.guardrail import Harm, harm
from gateway.statistics.sums import EventCounts

ERRORS = built_in("error_rate")


def guarded(given: Evidence, metric: Metric = ERRORS, adaptive: bool = False) -> GuardrailReadout:
    (one,) = read_out(given, Terms((metric,), adaptive=adaptive)).guardrails
    return one


def errors(hour: int, baseline: int, candidate: int, epoch: str = EPOCH) -> Cells:
    """A thousand units, and those of each arm with an error."""
    cells: Cells = {}
    for arm, events in (("prod", baseline), ("exp", candidate)):
        counts = dict.fromkeys(range(125), 4.0)
        cells[key(hour, arm, EXPOSURE, epoch)] = Cell(500, 500, dict(counts), counts)
        values = dict.fromkeys(range(events), 1.0)
        cells[key(hour, arm, "error_rate", epoch)] = Cell(
            events, events, values, tallies={"requests": 2 * events}
        )
    return cells


def test_evidence_of_harm_is_of_all_epochs_and_of_all_cells_up_to_now() -> None:
    written = errors(0, 3, 4, "e1") | errors(1, 2, 9, "e2")
    live = errors(2, 1, 8, "e2")
    shares = {"e1": 0.05, "e2": 0.5}
    found = guarded(evidence(written, shares, live=live))
    wanted = harm([EventCounts(4, 3, 0.05), EventCounts(17, 3, 0.5)])
    assert isinstance(wanted, Harm)
    assert found.log_e == pytest.approx(wanted.log_e)
    assert found.breached
    assert found.threshold == pytest.approx(math.log(100))
    assert (found.candidate.events, found.baseline.events) == (21, 6)
    assert (found.candidate.units, found.candidate.outcomes) == (1_500, 42)
    assert found.reason.startswith(
        "Likelier on the candidate (chance gives that in 1 of 29,000 experiments at most)"
    )
    assert "21 of the 27 units with error_rate are the candidate's" in found.reason
    before = guarded(evidence(written, shares))
    assert before.log_e is not None
    assert before.log_e < wanted.log_e


def test_more_of_a_written_cell_that_is_live_is_added_to_it_and_changes_no_cell() -> None:
    written, live = errors(0, 1, 5), errors(0, 1, 4)
    found = guarded(evidence(written, live=live))
    assert (found.candidate.events, found.baseline.events) == (9, 2)
    assert written[key(0, "exp", "error_rate")].events == 5
    assert live[key(0, "exp", "error_rate")].events == 4


def test_a_breach_stays_though_the_evidence_gets_weaker() -> None:
    written = errors(0, 1, 16)
    assert guarded(evidence(written)).breached
    for hour in range(1, 5):
        written |= errors(hour, 60, 40)
    found = guarded(evidence(written))
    assert found.breached
    assert found.candidate.events < found.baseline.events


def test_the_margin_is_harm_that_is_put_up_with() -> None:
    written: Cells = {}
    for hour in range(10):
        written |= errors(hour, 20, 30)
    assert guarded(evidence(written)).breached
    allowed = guarded(
        evidence(written), Metric("error_rate", "binary", "guardrail", "down", margin=0.5)
    )
    assert not allowed.breached
    assert allowed.margin == 0.5
    assert allowed.reason.startswith(
        "Not known to be likelier on the candidate by more than the margin of 50 %: 300 of the 500"
    )


def test_no_event_is_nothing_known_against_it() -> None:
    found = guarded(evidence(errors(0, 0, 0)))
    assert (found.breached, found.log_e) == (False, None)
    reason = "Nothing is known against it: no unit of either branch has had the event yet."
    assert found.reason == reason


def test_a_healthy_canary_is_left_alone_and_a_failing_one_is_not() -> None:
    rng = np.random.default_rng(21)
    for risk, word in ((1, False), (10, True)):
        cells: Cells = {}
        for hour in range(40):
            rates = {"error_rate": (0.005, 0.005 * risk)}
            cells |= drawn(rng, hour, 500, 0.05, rates)
        assert guarded(evidence(cells, {EPOCH: 0.05})).breached is word


def means(name: str, baseline: float, candidate: float, hours: int = 10) -> Cells:
    """Of a mean, with 500 units an hour and arm."""
    rng, cells = np.random.default_rng(3), {}
    for hour in range(hours):
        for arm, mean in (("prod", baseline), ("exp", candidate)):
            counts = np.bincount(rng.integers(BUCKETS, size=500), minlength=BUCKETS)
            values = np.round(counts * mean + rng.normal(0, 1, BUCKETS), 3)
            exposed = Cell(500, 500, {}, dict(enumerate(counts.astype(float).tolist())))
            cells[key(hour, arm, EXPOSURE)] = exposed
            cells[key(hour, arm, name)] = Cell(400, 400, dict(enumerate(values.tolist())))
    return cells


SPENT = Metric("spent", "mean", "guardrail", "up", margin=0.05)
COST = Metric("cost", "mean", "guardrail", "down", margin=0.05)


@pytest.mark.parametrize(
    ("metric", "candidate", "breached"),
    [
        (SPENT, 8.0, True),
        (SPENT, 9.9, False),
        (SPENT, 14.0, False),
        (COST, 12.0, True),
        (COST, 8.0, False),
    ],
)
def test_a_mean_does_harm_when_its_interval_lies_beyond_the_margin(
    metric: Metric, candidate: float, breached: bool
) -> None:
    cells = means(metric.name, 10.0, candidate)
    found = guarded(evidence(cells), metric)
    assert found.breached is breached, found.reason
    assert (found.log_e is None, metric.name in found.reason) == (True, True)
    assert not guarded(evidence({}, live=cells), metric).breached
    assert "nothing is mature yet" in guarded(evidence({}, live=cells), metric).reason


def test_a_mean_that_did_harm_at_some_look_is_breached() -> None:
    cells = means("spent", 10.0, 8.0, hours=3)
    assert guarded(evidence(cells), SPENT).breached
    recovered = {
        k._replace(start=k.start + 3 * HOUR, end=k.end + 3 * HOUR): cell
        for k, cell in means("spent", 10.0, 11.0, hours=9).items()
    }
    found = guarded(evidence(cells | recovered), SPENT)
    assert found.breached
    assert found.candidate.value is not None
    assert found.candidate.value > 10


def test_under_weights_that_adapt_only_events_are_watched() -> None:
    cells = means("spent", 10.0, 8.0)
    found = guarded(evidence(cells), SPENT, adaptive=True)
    assert not found.breached
    assert found.reason.startswith("Not watched: the weights adapt to outcomes")
    assert guarded(evidence(errors(0, 1, 16)), adaptive=True).breached


def test_a_secondary_metric_is_no_guardrail() -> None:
    secondary = Metric("error_rate", "binary", "secondary", "down")
    assert not read_out(evidence(errors(0, 1, 16)), Terms((secondary,))).guardrails
