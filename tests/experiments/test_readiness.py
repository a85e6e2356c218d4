"""When a candidate is fit to be merged: no guardrail may be much worse, at any look."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from steeringfacts import bounded, guardrail, metric, ratio, readout

from gateway.experiments.document import ArmFigures
from gateway.experiments.readiness import ALPHA, RARE, is_rare, not_ready
from gateway.statistics.rates import RateRatio, rate_ratio
from gateway.statistics.sums import EventCounts

A = "a" * 32


def told(found: Any = None, **fields: Any) -> str:
    """Of a candidate with one guardrail, that has events enough."""
    many = ArmFigures(10_000, 500)
    given = found or guardrail(baseline=many, candidate=many)
    return not_ready(readout(A, given, metrics=(metric(**fields),)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"relative": bounded(0.25)}, ""),
        ({"relative": bounded(0.251)}, "error_rate may still be more than 25 % higher"),
        ({"relative": bounded(None)}, "more than 25 % higher"),
        ({}, "more than 25 % higher"),
        # A margin of one's own, where it is one that an exact interval can reach.
        ({"relative": bounded(0.15), "margin": 0.15}, ""),
        ({"relative": bounded(0.2), "margin": 0.15}, "more than 15 % higher"),
        ({"relative": bounded(0.2), "margin": 0.02}, ""),
        ({"relative": bounded(0.9), "margin": 1.0}, ""),
        # An interval of means gets as narrow as one likes.
        (
            {"relative": bounded(0.05), "margin": 0.02, "method": "asymptotic", "kind": "mean"},
            "2 %",
        ),
        ({"relative": bounded(0.01), "margin": 0.02, "method": "asymptotic", "kind": "mean"}, ""),
        # What ought to go up must not be much lower.
        ({"relative": bounded(9.0, -0.2), "direction": "up"}, ""),
        ({"relative": bounded(9.0, -0.3), "direction": "up"}, "more than 25 % lower"),
    ],
)
def test_the_interval_must_leave_out_harm_beyond_the_margin(
    fields: dict[str, Any], words: str
) -> None:
    said = told(**fields)
    assert words in said
    assert bool(words) == bool(said)


def test_an_event_that_next_to_nobody_has_needs_no_ratio() -> None:
    clean = guardrail(candidate=ArmFigures(2_000, 0))
    assert told(clean) == ""
    assert told(guardrail(candidate=ArmFigures(700, 0))) != ""
    assert told(guardrail(candidate=ArmFigures(2_000, 20))) != ""
    # A mean is no event.
    assert told(clean, kind="mean", method="asymptotic") != ""


def test_what_else_speaks_against_a_merge_is_told() -> None:
    worse = metric("won", role="primary", status="worse")
    fine = metric(relative=bounded(0.0))
    assert "won, the primary metric, is worse" in not_ready(readout(A, metrics=(worse, fine)))
    assert not_ready(None) == "there is no comparison with the baseline yet"
    assert "by their weights" in not_ready(readout(A, metrics=(fine,), mismatch=True))
    assert "released" in not_ready(readout(A, guardrail(log_e=9.0), metrics=(fine,)))
    both = readout(A, guardrail(), guardrail("timeout_rate"), metrics=(fine,))
    assert "timeout_rate may" in not_ready(both)
    assert not_ready(readout(A, metrics=(fine, metric("b", arrivals=ratio(mismatch=False))))) == ""


def test_rare_is_claimed_of_a_rate_that_is_not_in_one_of_twenty_at_most() -> None:
    """At every hundredth unit of 20,000, of a rate that is just not rare enough."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(300):
        events = rng.binomial(100, RARE, size=200).cumsum()
        wrong += any(is_rare(int(x), 100 * n) for n, x in enumerate(events, 1))
    assert 0 < wrong / 300 <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / 300) ** 0.5


def test_a_rate_that_is_half_as_large_is_found_to_be_rare() -> None:
    assert is_rare(0, 1_100)
    assert not is_rare(0, 700)
    assert is_rare(25, 10_000)
    assert not is_rare(50, 10_000)
    assert not is_rare(500, 10_000)
    assert not is_rare(0, 0)


def test_a_candidate_as_good_as_the_baseline_gets_ready() -> None:
    """With a margin of 0, as STATISTICS has it, it never would: see `rates`."""
    same = rate_ratio([EventCounts(100_000, 100_000, 0.5)])
    assert isinstance(same, RateRatio)
    relative = same.relative
    assert relative.high > 0.02
    assert told(relative=bounded(relative.high, relative.low)) == ""
