"""The read-out of a contrast: its sums by hand, its word in each case, and what it warns of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from experimentcells import (
    COMMITS,
    CONTRAST,
    EPOCH,
    HOUR,
    START,
    Cells,
    Visit,
    added_up,
    drawn,
    evidence,
    key,
)

from gateway.experiments.cells import Cell, CellKey
from gateway.experiments.document import ContrastReadout, MetricReadout
from gateway.experiments.metrics import EXPOSURE, Metric
from gateway.experiments.readout import Evidence, Terms, read_out
from gateway.names import BUCKETS
from gateway.statistics.effects import Effect, effect
from gateway.statistics.rates import RateRatio, rate_ratio
from gateway.statistics.sums import BucketSums, EventCounts, Sides
from gateway.timestamps import rfc3339

BOUGHT = Metric("bought", "binary", role="primary", margin=0.1)
OFTEN = Metric("often", "binary", role="primary", margin=0.1, common=True)
SPENT = Metric("spent", "mean", role="primary")
RIGHT = Metric("right", "ratio", role="primary", missing="unknown")
CLICKS = Metric("clicks", "ratio", role="primary")


def one_of(metric: Metric, found: ContrastReadout) -> MetricReadout:
    return next(one for one in found.metrics if one.name == metric.name)


def said(
    given: Evidence, *metrics: Metric, alpha: float = 0.05, adaptive: bool = False, kept: int = 256
) -> ContrastReadout:
    return read_out(given, Terms(metrics, alpha=alpha, adaptive=adaptive, kept=kept))


def some(
    rates: tuple[float, float],
    hours: int = 10,
    units: int = 1_000,
    seed: int = 1,
    metric: Metric = BOUGHT,
    share: float = 0.5,
    drawn_by: float | None = None,
) -> Cells:
    """Hours of new users, of an event; the same seed is the same users."""
    rng, cells = np.random.default_rng(seed), cast(Cells, {})
    for hour in range(hours):
        cells |= drawn(rng, hour, units, drawn_by or share, {metric.name: rates})
    return cells


def exactly(
    baseline: tuple[int, int], candidate: tuple[int, int], hours: int = 1, name: str = "bought"
) -> Cells:
    """Of each arm: units and events an hour, in any buckets."""
    rng, cells = np.random.default_rng(0), cast(Cells, {})
    for hour in range(hours):
        for arm, (units, events) in (("prod", baseline), ("exp", candidate)):
            bucket = rng.integers(BUCKETS, size=units)
            counts, values = _numbers(bucket), _numbers(bucket[:events])
            cells[key(hour, arm, EXPOSURE)] = Cell(units, units, dict(counts), counts)
            cells[key(hour, arm, name)] = Cell(events, events, values)
    return cells


def _numbers(buckets: npt.NDArray[np.int64]) -> dict[int, float]:
    return {bucket: float(n) for bucket, n in Counter(buckets.tolist()).items()}


def later(cells: Cells, hours: int) -> Cells:
    moved = hours * HOUR
    return {k._replace(start=k.start + moved, end=k.end + moved): cell for k, cell in cells.items()}


def visits(seed: int = 3) -> list[Visit]:
    """400 users of either arm over two epochs and six hours, who return, with all outcomes."""
    rng, found = np.random.default_rng(seed), []
    for hour in range(6):
        epoch, share = ("e1", 0.5) if hour < 3 else ("e2", 0.25)
        for unit in rng.integers(800, size=500).tolist():
            place = np.random.default_rng([9, unit]).random()
            arm, rows = "exp" if place < share else "prod", int(rng.integers(1, 4))
            labels = [float(rng.random() < 0.7) for _ in range(rows) if rng.random() < 0.6]
            outcomes: dict[str, Sequence[float]] = {
                "bought": [float(rng.random() < 0.2)],
                "often": [float(rng.random() < 0.7)],
                "spent": [float(rng.integers(-100, 100)) / 4] if rng.random() < 0.5 else [],
                "right": labels,
                "clicks": [1.0] * int(rng.binomial(rows, 0.4)),
            }
            found.append(Visit(hour, unit, arm, epoch, rows, outcomes))
    return found


SHARES = {"e1": 0.5, "e2": 0.25}
KINDS = (BOUGHT, OFTEN, SPENT, RIGHT, CLICKS)


def by_hand(metric: Metric, seen: list[Visit]) -> list[Sides[BucketSums]]:
    """Each epoch's sums from the visits themselves, by the words of `Metric`."""
    sides = []
    for epoch in ("e1", "e2"):
        arms = []
        for arm in ("prod", "exp"):
            mine = [one for one in seen if (one.epoch, one.arm) == (epoch, arm)]
            arms.append(_summed(metric, mine))
        sides.append(Sides(*arms))
    return sides


def _summed(metric: Metric, mine: list[Visit]) -> BucketSums:
    values, counts = np.zeros(BUCKETS), np.zeros(BUCKETS)
    units = {one.unit for one in mine}
    told = {one.unit for one in mine if one.outcomes[metric.name]}
    if metric.kind == "binary":
        for unit in {one.unit for one in mine if any(one.outcomes[metric.name])}:
            values[unit % BUCKETS] += 1
    else:
        for one in mine:
            values[one.unit % BUCKETS] += sum(one.outcomes[metric.name])
    if metric.kind == "ratio":
        for one in mine:
            rows = len(one.outcomes["right"]) if metric is RIGHT else one.rows
            counts[one.unit % BUCKETS] += rows
    else:
        for unit in units:
            counts[unit % BUCKETS] += 1
    return BucketSums(len(told if metric is RIGHT else units), values, counts)


def events_by_hand(name: str, seen: list[Visit]) -> list[EventCounts]:
    """Units with the event, each once and in the epoch of its first."""
    had: set[int] = set()
    found = {epoch: {"prod": 0, "exp": 0} for epoch in SHARES}
    for one in seen:
        if any(one.outcomes[name]) and one.unit not in had:
            had.add(one.unit)
            found[one.epoch][one.arm] += 1
    return [EventCounts(found[e]["exp"], found[e]["prod"], SHARES[e]) for e in SHARES]


@pytest.mark.parametrize("metric", KINDS, ids=lambda metric: metric.name)
def test_each_kind_of_metric_is_that_of_sums_by_hand(metric: Metric) -> None:
    seen = visits()
    found = one_of(metric, said(evidence(added_up(seen, KINDS), SHARES), metric))
    wanted = effect(by_hand(metric, seen), metric.kind)
    assert isinstance(wanted, Effect)
    assert found.difference is not None
    ends = wanted.difference
    shown = found.difference.estimate, found.difference.low, found.difference.high
    assert shown == pytest.approx((ends.estimate, ends.low, ends.high), rel=1e-12)
    assert found.candidate.value == pytest.approx(wanted.candidate)
    assert found.baseline.value == pytest.approx(wanted.baseline)
    assert found.looks == 6
    assert found.as_of == rfc3339(START + 6 * HOUR)
    assert found.method == ("exact" if metric is BOUGHT else "asymptotic")
    counted = {one.unit for one in seen if metric is not RIGHT or one.outcomes["right"]}
    assert found.candidate.units + found.baseline.units == len(counted)
    told = {"prod": 0, "exp": 0}
    for one in seen:
        told[one.arm] += len(one.outcomes[metric.name])
    assert (found.candidate.outcomes, found.baseline.outcomes) == (told["exp"], told["prod"])


def test_an_event_is_decided_by_the_exact_ratio_of_units_that_had_it_once() -> None:
    seen = visits()
    found = one_of(BOUGHT, said(evidence(added_up(seen, KINDS), SHARES), BOUGHT))
    wanted = rate_ratio(events_by_hand("bought", seen))
    assert isinstance(wanted, RateRatio)
    assert found.relative is not None
    shown = found.relative.estimate, found.relative.low, found.relative.high
    ratio = wanted.relative
    assert shown == pytest.approx((ratio.estimate, ratio.low, ratio.high), rel=1e-9)
    assert (found.candidate.events, found.baseline.events) == (wanted.candidate, wanted.baseline)
    assert found.log_e is not None
    assert found.log_e >= wanted.log_e
    assert found.candidate.units + found.baseline.units == len({one.unit for one in seen})
    assert found.candidate.outcomes == sum(one.arm == "exp" for one in seen)


@pytest.mark.parametrize("metric", [BOUGHT, OFTEN, CLICKS, RIGHT], ids=lambda one: one.name)
def test_evidence_is_the_largest_of_all_looks_and_never_decreases(metric: Metric) -> None:
    cells = added_up(visits(), KINDS)
    shown, alone = [], []
    for hours in range(1, 7):
        until = {k: cell for k, cell in cells.items() if k.end <= START + hours * HOUR}
        one = one_of(metric, said(evidence(until, SHARES), metric))
        assert one.looks == hours
        shown.append(-math.inf if one.log_e is None else one.log_e)
        whole: Cells = {}
        for k, cell in until.items():
            whole.setdefault(k._replace(start=START, end=START + HOUR), Cell()).add(cell)
        single = one_of(metric, said(evidence(whole, SHARES), metric))
        alone.append(-math.inf if single.log_e is None else single.log_e)
    assert shown == sorted(shown)
    assert shown == pytest.approx(np.maximum.accumulate(alone), rel=1e-9)


def test_a_look_is_at_the_end_of_a_span_whose_cells_may_be_of_other_length() -> None:
    cells = some((0.1, 0.1), hours=4)
    halves: Cells = {}
    for k, cell in cells.items():
        late = k.start >= START + 2 * HOUR
        halves[k._replace(start=k.start + HOUR // 2) if late else k] = cell
    assert one_of(BOUGHT, said(evidence(halves), BOUGHT)).looks == 4


def test_the_order_in_which_cells_are_given_changes_nothing() -> None:
    cells = added_up(visits(), KINDS)
    rng = np.random.default_rng(0)
    keys = list(cells)
    rng.shuffle(keys)
    other = {k: cells[CellKey(*k)] for k in keys}
    terms = Terms(KINDS)
    assert read_out(evidence(cells, SHARES), terms) == read_out(evidence(other, SHARES), terms)


def test_a_denominator_counts_only_where_the_metric_is_mature() -> None:
    cells = some((0.1, 0.15))
    young = {k: c for k, c in cells.items() if k.metric == EXPOSURE or k.end <= START + 6 * HOUR}
    old = {k: c for k, c in cells.items() if k.end <= START + 6 * HOUR}
    found, wanted = (one_of(BOUGHT, said(evidence(part), BOUGHT)) for part in (young, old))
    assert found.pending_units == 4_000
    assert found.as_of == rfc3339(START + 6 * HOUR)
    assert wanted.pending_units == 0
    assert replace_traffic(found) == replace_traffic(wanted)


def replace_traffic(one: MetricReadout) -> MetricReadout:
    return msgspec.structs.replace(one, pending_units=0, expected_days=None, expected="")


def test_live_cells_are_pending_units_and_no_result() -> None:
    cells = some((0.1, 0.15))
    live = {k: c for k, c in cells.items() if k.end > START + 6 * HOUR}
    written = {k: c for k, c in cells.items() if k not in live}
    found = one_of(BOUGHT, said(evidence(written, live=live), BOUGHT))
    assert found.pending_units == 4_000
    wanted = one_of(BOUGHT, said(evidence(written), BOUGHT))
    assert msgspec.structs.replace(found, pending_units=0) == wanted


# The words.


def test_nothing_mature_is_insufficient_and_no_effect_is_said() -> None:
    found = said(evidence({}), BOUGHT, SPENT)
    for one in found.metrics:
        assert one.status == "insufficient"
        assert one.reason == (
            "Too early to say: nothing is mature yet, as outcomes count for 1 day after the answer."
        )
        assert (one.p, one.log_e, one.difference, one.relative) == (None, None, None, None)
        assert one.expected_days is None
        assert one.expected == "Nothing can be told before there is enough to estimate anything."
    assert (found.status, found.since, found.until) == ("insufficient", "", "")


@pytest.mark.parametrize("metric", [OFTEN, SPENT, RIGHT], ids=lambda one: one.name)
def test_too_little_is_insufficient(metric: Metric) -> None:
    few = [one for one in visits() if one.unit < 90]
    found = said(evidence(added_up(few, KINDS), SHARES), metric)
    assert found.status == "insufficient"
    assert found.reason.startswith("Too early to say: the ")
    assert found.reason.endswith(" it takes.")
    assert one_of(metric, found).p is None


def test_no_event_at_all_is_insufficient_and_the_first_is_not() -> None:
    found = said(evidence(exactly((500, 0), (500, 0))), BOUGHT)
    reason = "Too early to say: no unit of either branch has had the event yet."
    assert (found.status, found.reason) == ("insufficient", reason)
    assert (one_of(BOUGHT, found).p, one_of(BOUGHT, found).log_e) == (None, None)
    found = said(evidence(exactly((500, 1), (500, 0))), BOUGHT)
    assert found.status == "running"
    assert found.reason.startswith("Not decided yet, which does not mean no effect: -100 %")
    relative = one_of(BOUGHT, found).relative
    assert relative is not None
    assert (relative.estimate, relative.low, relative.high) == (-1, -1, None)


@pytest.mark.parametrize(
    ("direction", "rates", "word"),
    [
        ("up", (0.10, 0.14), "better"),
        ("up", (0.14, 0.10), "worse"),
        ("down", (0.10, 0.14), "worse"),
        ("down", (0.14, 0.10), "better"),
    ],
)
def test_what_differs_is_better_or_worse(
    direction: str, rates: tuple[float, float], word: str
) -> None:
    for metric in (BOUGHT, OFTEN):
        directed = msgspec.structs.replace(metric, direction=direction)
        found = said(evidence(some(rates, metric=metric)), directed)
        assert found.status == word, found.reason
        assert found.reason.startswith(f"The candidate is {word}")
        one = one_of(metric, found)
        assert (one.expected_days, one.expected) == (0, "It is decided.")
        assert one.p is not None
        assert one.p <= 0.05


def test_no_difference_is_running_and_then_equivalent_within_the_margin() -> None:
    for metric in (BOUGHT, OFTEN):
        found = said(evidence(exactly((1_000, 300), (1_000, 301), 2, metric.name)), metric)
        assert found.status == "running"
        many = said(evidence(exactly((1_000, 300), (1_000, 301), 30, metric.name)), metric)
        assert many.status == "equivalent", many.reason
        assert "any difference is less than the margin of 10 %: +0.33 %" in many.reason
        # What would not matter has to be said beforehand.
        unsaid = msgspec.structs.replace(metric, margin=None)
        cells = exactly((1_000, 300), (1_000, 301), 30, metric.name)
        assert said(evidence(cells), unsaid).status == "running"


def test_rates_are_equivalent_by_their_difference_as_a_ratio_is_never_that_narrow() -> None:
    cells = evidence(exactly((1_000, 300), (1_000, 301), 40))
    metric = msgspec.structs.replace(BOUGHT, margin=0.045)
    found = said(cells, metric)
    assert found.status == "equivalent", found.reason
    one = one_of(metric, found)
    assert one.relative is not None
    assert one.relative.high is not None
    assert one.relative.high > 0.045
    # Under weights that adapt there is no difference to tell it by.
    assert said(cells, metric, adaptive=True).status == "running"


def test_a_decision_stands_though_the_evidence_gets_weaker() -> None:
    cells = exactly((1_000, 100), (1_000, 160), 2)
    cells |= later(exactly((9_000, 1_000), (9_000, 1_000)), 2)
    found = said(evidence(cells), BOUGHT)
    assert found.status == "better"
    assert "as an earlier look decided" in found.reason
    assert one_of(BOUGHT, found).warnings == ()


@pytest.mark.parametrize("metric", [BOUGHT, OFTEN], ids=lambda one: one.name)
def test_an_effect_that_turned_is_not_taken_for_its_opposite(metric: Metric) -> None:
    cells = exactly((1_000, 100), (1_000, 160), 2, metric.name)
    cells |= later(exactly((9_000, 1_300), (9_000, 1_150), name=metric.name), 2)
    found = said(evidence(cells), metric)
    assert found.status == "running"
    one = one_of(metric, found)
    assert one.p is not None
    assert one.p < 0.05
    assert "An earlier look had decided for the other side" in one.warnings[-1]


def test_a_split_that_is_broken_is_invalid_and_stays_so() -> None:
    broken = some((0.1, 0.15), drawn_by=0.6)
    found = said(evidence(broken), BOUGHT, SPENT)
    assert [found.status, *(one.status for one in found.metrics)] == ["invalid"] * 3
    assert "did not fall on the branches as their weights say" in found.reason
    assert found.sample_ratio is not None
    assert found.sample_ratio.mismatch
    assert found.sample_ratio.expected == 0.5
    one = one_of(BOUGHT, found)
    assert one.expected_days is None
    mended = some((0.1, 0.15), drawn_by=0.6, hours=4)
    mended |= {
        k: c for k, c in some((0.1, 0.15), drawn_by=0.47, hours=16).items() if k not in mended
    }
    alone = some((0.1, 0.15), hours=4, drawn_by=0.6)
    assert said(evidence(mended), BOUGHT).status == "invalid"
    assert said(evidence(alone), BOUGHT).status == "invalid"


def test_content_that_is_served_no_more_is_stale_and_still_told_of() -> None:
    cells = some((0.1, 0.14))
    found = said(evidence(cells, current=False), BOUGHT)
    assert (found.status, found.current) == ("stale", False)
    assert found.reason.startswith(
        "This is of content that is served no more: prod or exp has been given other content. "
        "Until then: The candidate is better"
    )
    one, before = one_of(BOUGHT, found), one_of(BOUGHT, said(evidence(cells), BOUGHT))
    assert (one.difference, one.p, one.relative) == (before.difference, before.p, before.relative)
    assert one.expected == "Nothing more is to come of content that is served no more."


def test_without_a_primary_metric_nothing_decides_for_the_whole() -> None:
    secondary = msgspec.structs.replace(BOUGHT, role="secondary")
    found = said(evidence(some((0.1, 0.14))), secondary)
    reason = "No primary metric is configured, so nothing decides for the whole."
    assert (found.status, found.reason) == ("insufficient", reason)
    one = one_of(secondary, found)
    assert one.status == "better"
    assert one.warnings == (
        "Exploratory: the promise of at most 5 % of wrong decisions is the primary metric's alone.",
    )
    assert said(evidence(some((0.1, 0.1), drawn_by=0.6)), secondary).status == "invalid"
    assert said(evidence(some((0.1, 0.1)), current=False), secondary).status == "stale"


def labelled(rng: np.random.Generator, share_told: tuple[float, float]) -> Cells:
    seen = []
    for unit in range(6_000):
        arm = int(rng.random() < 0.5)
        told = [float(rng.random() < 0.8)] if rng.random() < share_told[arm] else []
        seen.append(Visit(unit % 5, unit, ("prod", "exp")[arm], outcomes={"right": told}))
    return added_up(seen, [RIGHT])


def test_labels_that_come_of_one_arm_more_than_of_the_other_make_it_invalid() -> None:
    found = said(evidence(labelled(np.random.default_rng(1), (0.6, 0.4))), RIGHT)
    assert found.status == "invalid"
    assert "those that are missing may differ" in found.reason
    assert found.sample_ratio is not None
    assert not found.sample_ratio.mismatch
    arrivals = one_of(RIGHT, found).arrivals
    assert arrivals is not None
    assert arrivals.mismatch
    assert arrivals.baseline > arrivals.candidate > 1_000
    even = said(evidence(labelled(np.random.default_rng(1), (0.5, 0.5))), RIGHT)
    assert even.status == "running"
    zero = msgspec.structs.replace(RIGHT, missing="zero")
    uneven = evidence(labelled(np.random.default_rng(1), (0.6, 0.4)))
    assert one_of(RIGHT, said(uneven, zero)).arrivals is None


def test_weights_that_adapt_leave_the_exact_method_alone() -> None:
    cells = some((0.10, 0.14)) | {
        k: c for k, c in some((0.5, 0.7), metric=OFTEN).items() if k.metric == "often"
    }
    cells |= {k._replace(metric="spent"): c for k, c in cells.items() if k.metric == "bought"}
    secondary = [msgspec.structs.replace(one, role="secondary") for one in (OFTEN, SPENT)]
    found = said(evidence(cells), BOUGHT, *secondary, adaptive=True)
    assert found.adaptive
    assert found.status == "better"
    assert [one.method for one in found.metrics] == ["exact", "exact", "asymptotic"]
    assert [one.difference for one in found.metrics] == [None] * 3
    last = found.metrics[-1]
    assert last.status == "insufficient"
    assert last.reason.startswith("Nothing can be said: the weights adapt to outcomes")
    assert last.expected == last.reason
    assert last.p is None
    assert any("Weights follow outcomes here" in warning for warning in found.warnings)


def test_alpha_is_the_terms() -> None:
    cells = evidence(exactly((5_000, 500), (5_000, 625)))
    loose, strict = (said(cells, BOUGHT, alpha=alpha) for alpha in (0.05, 0.0001))
    assert (loose.status, strict.status) == ("better", "running")
    assert "99.99 % interval" in strict.reason
    assert one_of(BOUGHT, strict).alpha == 0.0001


# What stands beside.


def test_the_contrast_says_whose_it_is_and_of_which_epochs() -> None:
    seen = visits()
    found = said(evidence(added_up(seen, KINDS), SHARES), BOUGHT)
    assert (found.contrast, found.baseline, found.candidate) == (CONTRAST.id, "prod", "exp")
    assert (found.baseline_commit, found.candidate_commit) == COMMITS
    assert (found.since, found.until) == (rfc3339(START), rfc3339(START + 6 * HOUR))
    assert [(one.epoch, one.share) for one in found.epochs] == [("e1", 0.5), ("e2", 0.25)]
    first, second = found.epochs
    assert (first.until, second.since) == (rfc3339(START + 3 * HOUR),) * 2
    for one in found.epochs:
        for arm, units in (("prod", one.baseline_units), ("exp", one.candidate_units)):
            mine = {v.unit for v in seen if (v.epoch, v.arm) == (one.epoch, arm)}
            assert units == len(mine)
    assert msgspec.json.decode(msgspec.json.encode(found), type=ContrastReadout) == found


def test_units_in_both_arms_are_counted_and_warned_of() -> None:
    seen = visits()
    arms = {(one.unit, one.arm) for one in seen}
    both = len(arms) - len({unit for unit, _ in arms})
    found = said(evidence(added_up(seen, KINDS), SHARES), BOUGHT)
    assert found.multiple_units == both > 0
    (warning,) = found.warnings
    assert f"{both} units of " in warning
    assert "expected after a change of weights" in warning
    alike = said(evidence(added_up(seen, KINDS), {"e1": 0.4, "e2": 0.4}), BOUGHT)
    assert "ids that change" in alike.warnings[0]
    few = some((0.1, 0.1))
    few[key(2, "exp", EXPOSURE)].tally("multiple", 5)
    rare = said(evidence(few), BOUGHT)
    assert (rare.multiple_units, rare.warnings) == (5, ())
    alone = [one for one in seen if one.epoch == "e1"]
    assert said(evidence(added_up(alone, KINDS), SHARES), BOUGHT).warnings == ()


def test_requests_without_a_unit_stand_apart() -> None:
    cells = some((0.1, 0.1), hours=2)
    for k, cell in cells.items():
        if k.metric == EXPOSURE:
            cell.tally("requests", 500)
            cell.tally("without_unit", 40 if k.arm == "prod" else 44)
            if k.arm == "exp":
                cell.tally("without_unit:error_rate", 3)
    found = said(evidence(cells), BOUGHT)
    wanted = {"prod": {"requests": 80}, "exp": {"error_rate": 6, "requests": 88}}
    assert found.without_unit == wanted
    (warning,) = found.warnings
    assert warning.startswith("168 requests of 2,168 came without a unit: they were answered")
    for k, cell in cells.items():
        if k.arm == "exp" and k.metric == EXPOSURE:
            cell.tally("without_unit", 160)
    uneven = said(evidence(cells), BOUGHT)
    assert (
        "do not fall on the arms as their weights say (80 of prod, 408 of exp)"
        in (uneven.warnings[-1])
    )


def test_units_that_are_not_kept_are_said() -> None:
    found = said(evidence(some((0.1, 0.1))), BOUGHT, kept=64)
    assert found.kept == 0.25
    assert found.warnings[0].startswith("Only 25 % of the units are kept, chosen by their hash")


def test_late_and_duplicate_outcomes_are_counted_and_change_nothing_else() -> None:
    cells = some((0.1, 0.12))
    before = one_of(BOUGHT, said(evidence(cells), BOUGHT))
    cells[key(1, "exp", "bought")].tally("late", 3)
    cells[key(2, "prod", "bought")].tally("late", 2)
    cells[key(2, "prod", "bought")].tally("duplicate", 7)
    found = one_of(BOUGHT, said(evidence(cells), BOUGHT))
    assert (found.late, found.duplicate) == (5, 7)
    assert msgspec.structs.replace(found, late=0, duplicate=0) == before


@pytest.mark.parametrize(
    ("k", "shares"),
    [(key(0, "third", EXPOSURE), {EPOCH: 0.5}), (key(0, "exp", EXPOSURE), {"e9": 0.5})],
)
def test_cells_of_something_else_are_refused(k: CellKey, shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"cells must be of prod or exp, in an epoch with a share"):
        evidence({k: Cell()}, shares)
    assert replace(evidence({}), shadow=True).shadow


# Promises, through cells.


def ramp(rng: np.random.Generator, lift: float) -> tuple[Cells, dict[str, float]]:
    """1, 5, 10, 25, 50 % of the users, while everybody's rate moves."""
    cells: Cells = {}
    steps = zip((0.01, 0.05, 0.1, 0.25, 0.5), (0.10, 0.12, 0.09, 0.11, 0.13), strict=True)
    shares = {}
    for step, (share, rate) in enumerate(steps):
        epoch = f"{step:012x}"
        shares[epoch] = share
        for hour in range(4 * step, 4 * step + 4):
            rates = (rate, rate * lift)
            cells |= drawn(rng, hour, 5_000, share, {"bought": rates, "often": rates}, epoch)
    return cells, shares


def test_a_ramp_without_an_effect_stays_undecided_where_pooled_it_does_not() -> None:
    rng = np.random.default_rng(8)
    runs = 40
    wrong, pooled = {BOUGHT: 0, OFTEN: 0}, 0
    for _ in range(runs):
        cells, shares = ramp(rng, 1)
        found = said(evidence(cells, shares), *wrong)
        for metric in wrong:
            wrong[metric] += one_of(metric, found).status in ("better", "worse")
        together: Cells = {k._replace(epoch=EPOCH): cell for k, cell in cells.items()}
        everything = said(evidence(together, {EPOCH: 0.182}), OFTEN)
        (one,) = everything.metrics
        pooled += one.p is not None and one.p <= 0.05
    bound = 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert max(wrong.values()) / runs <= bound
    assert pooled / runs > 0.8
    cells, shares = ramp(rng, 1.15)
    assert said(evidence(cells, shares), BOUGHT).status == "better"


def clustered(rng: np.random.Generator, by_user: bool) -> Cells:
    """1,500 users of some ten requests each, no effect; or as if each request were a user."""
    requests = rng.geometric(0.1, 1_500)
    arm, rate = rng.integers(2, size=1_500), rng.beta(0.6, 1.4, 1_500)
    user = rng.permutation(np.repeat(np.arange(1_500), requests))
    right = (rng.random(len(user)) < rate[user]).astype(float)
    hour, arms = np.arange(len(user)) * 12 // len(user), arm[user]
    unit = user if by_user else np.arange(len(user))
    first = np.zeros(len(user), dtype=bool)
    first[np.unique(unit, return_index=True)[1]] = True
    cells: Cells = {}
    for k in range(12):
        for place, name in enumerate(("prod", "exp")):
            here = (hour == k) & (arms == place)
            bucket, units = unit[here] % BUCKETS, int(first[here].sum())
            values, counts = (
                dict(enumerate(np.bincount(bucket, part, BUCKETS).tolist()))
                for part in (right[here], None)
            )
            cells[key(k, name, EXPOSURE)] = Cell(units, units, counts, counts)
            cells[key(k, name, "right")] = Cell(units, units, values, counts)
    return cells


def test_requests_of_one_user_are_no_independent_evidence() -> None:
    decided = {True: 0, False: 0}
    for by_user in decided:
        for seed in range(60):
            cells = clustered(np.random.default_rng([4, seed]), by_user)
            (one,) = said(evidence(cells), RIGHT).metrics
            decided[by_user] += one.p is not None and one.p <= 0.05
    assert decided[True] / 60 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)
    assert decided[False] / 60 > 0.25
