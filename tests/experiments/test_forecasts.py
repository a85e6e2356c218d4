"""How long a decision takes: told from what there is, and checked by what then comes."""

from __future__ import annotations

import math

import pytest
from experimentcells import HOUR, Cells, evidence, key

from gateway.experiments.cells import Cell
from gateway.experiments.document import MetricReadout
from gateway.experiments.forecasts import Traffic, forecast
from gateway.experiments.metrics import EXPOSURE, Metric
from gateway.experiments.readout import Terms, read_out
from gateway.names import BUCKETS
from gateway.statistics.effects import Effect, effect
from gateway.statistics.sequences import Interval
from gateway.statistics.sums import Sides, UnitSums

BOUGHT = Metric("bought", "binary", role="primary")


def steadily(hours: int, baseline: int, candidate: int, every: int = 1) -> Cells:
    """512 units an hour and arm, two of each bucket; so many have the event, in turn."""
    cells: Cells = {}
    for hour in range(0, hours, every):
        for arm, events in (("prod", baseline), ("exp", candidate)):
            counts = dict.fromkeys(range(BUCKETS), 2.0)
            cells[key(hour, arm, EXPOSURE)] = Cell(512, 512, dict(counts), counts)
            begin = hour * 101 * (1 if arm == "prod" else 3)
            values: dict[int, float] = {}
            for place in range(begin, begin + events):
                bucket = place * 37 % BUCKETS
                values[bucket] = values.get(bucket, 0) + 1
            cells[key(hour, arm, "bought")] = Cell(events, events, values)
    return cells


def told(cells: Cells, metric: Metric) -> MetricReadout:
    return read_out(evidence(cells), Terms((metric,))).metrics[0]


def test_rates_are_decided_when_it_was_said_that_they_are() -> None:
    """Nothing changes after ten hours, so it comes as it was foretold."""
    early = told(steadily(10, 50, 55), BOUGHT)
    assert early.status == "running"
    assert early.expected_days is not None
    days = math.ceil(early.expected_days)
    assert early.expected == (
        "At the present 25,000 units a day, a difference as small as the present one would take "
        f"about {days} days more."
    )
    hours = 10 + early.expected_days * 24
    assert told(steadily(math.floor(hours), 50, 55), BOUGHT).status == "running"
    assert told(steadily(math.ceil(hours), 50, 55), BOUGHT).status == "better"


def means(factor: float, events: int) -> Effect:
    """Of 5,000 units an arm, times the factor; half of the baseline's have the event."""
    units, had, mine = (round(n * factor) for n in (5_000, 2_500, events))
    found = effect([Sides(UnitSums.of_events(units, had), UnitSums.of_events(units, mine))], "mean")
    assert isinstance(found, Effect)
    return found


def foretold(found: Effect, margin: float | None) -> tuple[float, str]:
    days, sentence = forecast(
        "running",
        found,
        None,
        Traffic(found.units, 2_000),
        margin=margin,
        alpha=0.05,
        planned_units=10_000,
    )
    assert days is not None
    return days, sentence


def test_means_are_decided_when_it_was_said_that_they_are() -> None:
    now = means(1, 2_580)
    days, sentence = foretold(now, None)
    assert "a difference as small as the present one would take about" in sentence
    factor = 1 + days * 2_000 / now.units
    assert means(factor * 0.99, 2_580).p > 0.05 >= means(factor * 1.01, 2_580).p


def test_equivalence_is_foretold_too() -> None:
    now = means(1, 2_505)
    days, sentence = foretold(now, 0.02)
    assert sentence.endswith("more until any difference is sure to be less than the margin.")
    factor = 1 + days * 2_000 / now.units
    for times, is_within in ((0.99, False), (1.01, True)):
        relative = means(factor * times, 2_505).relative
        assert isinstance(relative, Interval)
        assert relative.within(0.02) is is_within
    # Of both, what comes first is told.
    assert foretold(means(1, 2_580), 0.04)[1] == foretold(means(1, 2_580), None)[1]


def test_what_takes_for_ever_is_not_foretold() -> None:
    one = told(steadily(10, 50, 50), BOUGHT)
    assert one.status == "running"
    assert one.expected_days is None
    assert one.expected == (
        "At the present 25,000 units a day, a difference as small as the present one would take "
        "over ten years."
    )


def test_traffic_is_that_of_the_newest_day() -> None:
    """Hours without anybody count as time: there are cells every fourth hour only."""
    cells = steadily(24, 50, 50, every=4)
    busy = steadily(48, 50, 50)
    moved = {
        k._replace(start=k.start + 48 * HOUR, end=k.end + 48 * HOUR): c for k, c in cells.items()
    }
    expected = told(busy | moved, BOUGHT).expected
    # 21 hours hold six with users, of 1,024 each; the three before them are of the busy time.
    assert "At the present 9,200 units a day" in expected


@pytest.mark.parametrize("word", ["invalid", "stale", "insufficient"])
def test_where_nothing_can_be_told_the_sentence_says_why(word: str) -> None:
    days, sentence = forecast(
        word,  # type: ignore[arg-type]
        None,
        None,
        Traffic(10, 10),
        margin=None,
        alpha=0.05,
        planned_units=10_000,
    )
    assert days is None
    assert sentence.startswith("Nothing ")


def test_without_traffic_nothing_is_foretold() -> None:
    days, sentence = forecast(
        "running",
        None,
        None,
        Traffic(10, 0),
        margin=None,
        alpha=0.05,
        planned_units=10_000,
    )
    assert (days, sentence) == (
        None,
        "Nothing can be told, as no unit came in the newest day of what is mature.",
    )
