"""One word for each contrast, and why, in a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.statistics.effects import Effect, effect
from gateway.statistics.guardrail import harm
from gateway.statistics.rates import rate_ratio
from gateway.statistics.sample_ratio import EpochUnits, SampleRatio, sample_ratio
from gateway.statistics.sequences import CannotSay
from gateway.statistics.standing import Direction, Word, standing
from gateway.statistics.sums import EventCounts, Sides, UnitSums

RIGHT = sample_ratio([EpochUnits((5_000, 5_000), (1, 1))])


def of_units(baseline: int, candidate: int, units: int = 50_000) -> Effect | CannotSay:
    sums = [UnitSums.of_events(units, events) for events in (baseline, candidate)]
    return effect([Sides(*sums)], "binary")


@pytest.mark.parametrize(
    ("candidate", "direction", "word", "reason"),
    [
        (6_000, "up", "better", "The candidate is better: +20 % (95 % interval +"),
        (6_000, "down", "worse", "The candidate is worse: +20 % (95 % interval +"),
        (4_000, "up", "worse", "The candidate is worse: -20 % (95 % interval -"),
        (4_000, "down", "better", "The candidate is better: -20 % (95 % interval -"),
        (5_050, "up", "running", "Not decided yet, which does not mean no effect: +1 % (95 %"),
        (5_000, "up", "running", "Not decided yet, which does not mean no effect: +0 % (95 %"),
    ],
)
def test_the_word_goes_by_where_the_metric_ought_to_go(
    candidate: int, direction: Direction, word: Word, reason: str
) -> None:
    found = standing(of_units(5_000, candidate), RIGHT, direction=direction)
    assert found.word == word
    assert found.reason.startswith(reason)
    events = EventCounts(candidate, 5_000, 0.5)
    assert standing(rate_ratio([events]), RIGHT, direction=direction).word == word


def test_too_little_is_insufficient_and_never_running() -> None:
    found = standing(of_units(10, 20), RIGHT)
    assert found.word == "insufficient"
    assert found.reason == "Too early to say: the baseline has 10 of the 25 events it takes."
    none = standing(rate_ratio([EventCounts(0, 0, 0.5)]), RIGHT)
    assert none.word == "insufficient"
    assert none.reason == "Too early to say: no unit of either branch has had the event yet."
    assert isinstance(harm([]), CannotSay)
    assert isinstance(harm([EventCounts(0, 0, 0.1)]), CannotSay)


def test_equal_within_the_margin_is_equivalent_and_without_one_never() -> None:
    finding = of_units(500_000, 500_500, 5_000_000)
    assert standing(finding, RIGHT, margin=0.02).word == "equivalent"
    said = standing(finding, RIGHT, margin=0.02).reason
    assert said.startswith("As good as equal, since any difference is less than the margin of 2 %")
    assert standing(finding, RIGHT).word == "running"
    assert standing(finding, RIGHT, margin=0.002).word == "running"


def test_a_difference_within_the_margin_is_still_one() -> None:
    finding = of_units(500_000, 506_000, 5_000_000)
    found = standing(finding, RIGHT, margin=0.05)
    assert found.word == "better"
    assert "though by less than the margin" in found.reason


def test_what_an_earlier_look_decided_stays_decided() -> None:
    finding = of_units(5_000, 5_050)
    found = standing(finding, RIGHT, p=0.01)
    assert found.word == "better"
    assert "as an earlier look decided" in found.reason
    assert standing(finding, RIGHT, p=0.06).word == "running"
    assert standing(finding, RIGHT, p=0.01, alpha=0.005).word == "running"


def test_a_broken_split_makes_any_result_invalid() -> None:
    broken = sample_ratio([EpochUnits((5_000, 5_600), (1, 1))])
    assert isinstance(broken, SampleRatio)
    assert broken.mismatch
    found = standing(of_units(5_000, 6_000), broken, stale="ab-test was merged")
    assert found.word == "invalid"
    assert "The 10,600 units did not fall on the branches as their weights say" in found.reason
    assert standing(CannotSay("nothing"), broken).word == "invalid"


def test_what_is_served_no_more_is_stale() -> None:
    found = standing(of_units(5_000, 6_000), RIGHT, stale="ab-test has other content since noon")
    assert found.word == "stale"
    assert found.reason.endswith("served no more: ab-test has other content since noon.")


def test_no_units_are_no_mismatch() -> None:
    assert sample_ratio([]) == CannotSay("no unit has been assigned yet")
    assert standing(of_units(5_000, 6_000), sample_ratio([])).word == "better"


def test_the_sample_ratio_of_epochs_is_the_product_of_theirs() -> None:
    epochs = [EpochUnits((950, 50), (95, 5)), EpochUnits((520, 480, 100), (5, 5, 1))]
    both = sample_ratio(epochs)
    each = [sample_ratio([one]) for one in epochs]
    assert isinstance(both, SampleRatio)
    assert both.df == 3
    assert both.units == 2_100
    assert both.log_e == pytest.approx(
        sum(one.log_e for one in each if isinstance(one, SampleRatio))
    )
    with pytest.raises(ValueError, match="weights: must be above 0"):
        replace(epochs[0], weights=(1, 0))
