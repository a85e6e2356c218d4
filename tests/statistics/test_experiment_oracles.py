"""The statistics of experiments beside golden numbers, and beside scipy on random ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import (
    betabinom,
    binom,
    chisquare,
    dirichlet_multinomial,
    multinomial,
    norm,
    ttest_ind_from_stats,
)

from gateway.statistics.effects import Effect, effect
from gateway.statistics.guardrail import HARMS, Harm, harm
from gateway.statistics.rates import (
    LOG_RATIOS,
    LOG_WEIGHTS,
    RateRatio,
    closed_form_ratio,
    log_dirichlet,
    log_evidence,
    rate_ratio,
)
from gateway.statistics.sample_ratio import EpochUnits, SampleRatio, sample_ratio
from gateway.statistics.sequences import CannotSay, Interval, always_valid_p, half_width, tuning
from gateway.statistics.sums import EventCounts, Sides, UnitSums, columns

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "experiments.json").read_text())
RANDOM = settings(max_examples=60, deadline=None)
COUNTS = st.integers(0, 60)
SHARES = st.floats(0.01, 0.99)
EPOCHS = st.lists(st.builds(EventCounts, COUNTS, COUNTS, SHARES), min_size=1, max_size=4).filter(
    lambda epochs: sum(one.both for one in epochs) > 0
)


def near(vector: dict[str, Any], key: str) -> Any:
    return pytest.approx(vector[key], rel=0, abs=vector["tolerance"])


def ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def events(vector: dict[str, Any]) -> list[EventCounts]:
    return [EventCounts(x, t - x, w) for x, t, w in vector["epochs"]]


@pytest.mark.parametrize("vector", VECTORS["mean"], ids=lambda vector: vector["name"])
def test_the_golden_intervals_of_means_come_out(vector: dict[str, Any]) -> None:
    sides = Sides(UnitSums(*vector["baseline"]), UnitSums(*vector["candidate"]))
    found = effect([sides], "mean", planned_units=vector["planned_units"])
    assert isinstance(found, Effect)
    assert found.difference.estimate == near(vector, "estimate")
    assert ends(found.difference) == near(vector, "interval")
    if "p" in vector:
        assert found.p == near(vector, "p")
        assert math.sqrt(tuning(planned_units=vector["planned_units"])) == near(vector, "rho")


@pytest.mark.parametrize("vector", VECTORS["dirichlet"])
def test_the_golden_evidence_of_counts_comes_out(vector: dict[str, Any]) -> None:
    found = log_dirichlet(vector["counts"], vector["shares"], vector["strength"])
    assert float(found) == near(vector, "log_e")


@pytest.mark.parametrize("vector", VECTORS["rate_ratio"])
def test_the_golden_rate_ratios_come_out(vector: dict[str, Any]) -> None:
    found = rate_ratio(events(vector))
    assert isinstance(found, RateRatio)
    assert found.log_e == pytest.approx(vector["log_e"], rel=0, abs=1e-8)
    assert ends(found.ratio) == near(vector, "interval")


@pytest.mark.parametrize("vector", VECTORS["closed_form"])
def test_the_golden_closed_forms_come_out(vector: dict[str, Any]) -> None:
    counts = EventCounts(vector["candidate"], vector["baseline"], vector["share"])
    found = closed_form_ratio(counts)
    assert found.estimate == near(vector, "estimate")
    assert ends(found) == near(vector, "interval")


@pytest.mark.parametrize("vector", VECTORS["harm"])
def test_the_golden_evidence_of_harm_comes_out(vector: dict[str, Any]) -> None:
    found = harm(events(vector))
    assert isinstance(found, Harm)
    assert found.log_e == near(vector, "log_e")


@pytest.mark.parametrize("vector", VECTORS["sample_ratio"])
def test_the_golden_sample_ratios_come_out(vector: dict[str, Any]) -> None:
    units, weights = tuple(vector["units"]), tuple(vector["weights"])
    found = sample_ratio([EpochUnits(units, weights)])
    assert isinstance(found, SampleRatio)
    assert found.p == near(vector, "p")


@given(st.lists(st.tuples(st.integers(0, 3_000), st.floats(0.5, 50)), min_size=2, max_size=5))
@RANDOM
def test_the_evidence_of_counts_is_scipys(arms: list[tuple[int, float]]) -> None:
    counts, weights = map(np.array, zip(*arms, strict=True))
    shares, n = weights / weights.sum(), int(counts.sum())
    for strength in (50.0, 1000.0):
        wanted = dirichlet_multinomial.logpmf(counts, strength * shares, n)
        wanted -= multinomial.logpmf(counts, n, shares)
        assert float(log_dirichlet(counts, shares, strength)) == pytest.approx(wanted, abs=1e-7)
    pair = counts[:2] @ [1, 1]
    if pair:
        w = weights[0] / weights[:2].sum()
        wanted = betabinom.logpmf(counts[0], pair, 50 * w, 50 * (1 - w))
        wanted -= binom.logpmf(counts[0], pair, w)
        found = log_dirichlet(counts[:2], [w, 1 - w])
        assert float(found) == pytest.approx(wanted, abs=1e-7)


def by_the_event(epochs: list[EventCounts], null: float, ratio: float) -> float:
    """The likelihood ratio of one rate ratio to another, event after event."""
    product = 1.0
    for one in epochs:
        here = one.share * null / (one.share * null + 1 - one.share)
        there = one.share * ratio / (one.share * ratio + 1 - one.share)
        for _ in range(one.candidate):
            product *= there / here
        for _ in range(one.baseline):
            product *= (1 - there) / (1 - here)
    return product


@given(EPOCHS, st.floats(-2, 2))
@RANDOM
def test_the_mixture_multiplies_events_of_all_epochs(
    epochs: list[EventCounts], log_ratio: float
) -> None:
    null = math.exp(log_ratio)
    wanted = sum(
        weight * by_the_event(epochs, null, null * math.exp(ratio))
        for ratio, weight in zip(LOG_RATIOS, np.exp(LOG_WEIGHTS), strict=True)
    )
    assert float(log_evidence(*columns(epochs), log_ratio)) == pytest.approx(
        math.log(wanted), abs=1e-8
    )


def test_events_of_one_arm_alone_bound_the_ratio_on_one_side() -> None:
    """The other end is open, however far one looks, and so is the estimate."""
    none, every = rate_ratio([EventCounts(0, 40, 0.5)]), rate_ratio([EventCounts(40, 0, 0.5)])
    assert isinstance(none, RateRatio)
    assert isinstance(every, RateRatio)
    assert (none.ratio.estimate, none.ratio.low, none.direction) == (0, 0, -1)
    assert 0.1 < none.ratio.high < 0.6
    assert (every.ratio.estimate, every.ratio.high, every.direction) == (math.inf, math.inf, 1)
    assert every.ratio.low == pytest.approx(1 / none.ratio.high)
    first = rate_ratio([EventCounts(1, 0, 0.001)])
    assert isinstance(first, RateRatio)
    assert ends(first.ratio) == [0, math.inf]
    assert closed_form_ratio(EventCounts(0, 40, 0.5)).low == 0
    assert closed_form_ratio(EventCounts(40, 0, 0.5)).high == math.inf


def test_the_mixture_tells_no_ratios_apart_that_lie_within_half_a_step() -> None:
    """However many events: why margins and lifts of a few percent are for means."""
    for events in (10**6, 10**9):
        found = rate_ratio([EventCounts(events, events, 0.5)])
        assert isinstance(found, RateRatio)
        assert ends(found.ratio) == pytest.approx([math.exp(-0.05), math.exp(0.05)], abs=0.002)


def test_the_mixture_is_two_normal_ones() -> None:
    weights = np.array(
        [math.exp(-(r**2) / 0.045) / 0.15 + math.exp(-(r**2) / 1.28) / 0.8 for r in LOG_RATIOS]
    )
    assert np.exp(LOG_WEIGHTS) == pytest.approx(weights / weights.sum(), rel=1e-12)
    assert len(LOG_RATIOS) == 61


@given(EPOCHS)
@settings(max_examples=30, deadline=None)
def test_a_rate_ratios_interval_is_what_evidence_does_not_exclude(
    epochs: list[EventCounts],
) -> None:
    """All of it and nothing else, by a walk over a grid far beyond the ends."""
    found = rate_ratio(epochs)
    assert isinstance(found, RateRatio)
    for log_ratio in np.arange(-10, 10, 0.125):
        ratio = math.exp(log_ratio)
        if min(abs(ratio - end) for end in ends(found.ratio)) > 1e-9 * ratio:
            held = float(log_evidence(*columns(epochs), log_ratio)) < math.log(20)
            assert held == (not found.ratio.excludes(ratio)), ratio
    assert found.ratio.low <= found.ratio.estimate <= found.ratio.high
    assert (found.p <= 0.05) == found.ratio.excludes(1)


@given(st.integers(0, 300), st.integers(0, 300), SHARES)
@RANDOM
def test_a_closed_forms_interval_is_what_evidence_does_not_exclude(
    x: int, y: int, w: float
) -> None:
    found = closed_form_ratio(EventCounts(x, y, w)) if x + y else Interval(1, 0, math.inf)
    for end in (end for end in ends(found) if 0 < end < math.inf):
        # Of the rarer side, since 1 less what is nearly 1 has few digits.
        a, b = w * end / (w * end + 1 - w), (1 - w) / (w * end + 1 - w)
        null = binom.logpmf(x, x + y, a) if a < b else binom.logpmf(y, x + y, b)
        e = betabinom.logpmf(x, x + y, 50 * w, 50 * (1 - w)) - null
        assert e == pytest.approx(math.log(20), abs=1e-6)
    assert found.low <= found.estimate <= found.high


@given(EPOCHS, st.sampled_from([1.0, 1.02, 1.5]))
@RANDOM
def test_harm_multiplies_events_of_all_epochs(epochs: list[EventCounts], margin: float) -> None:
    found = harm(epochs, margin)
    assert isinstance(found, Harm)
    wanted = np.mean([by_the_event(epochs, margin, margin * ratio) for ratio in HARMS])
    assert found.log_e == pytest.approx(math.log(wanted), abs=1e-8)
    assert found.breaches() == (wanted >= 100)


@given(st.lists(st.tuples(st.integers(0, 9_000), st.integers(1, 99)), min_size=2, max_size=5))
@RANDOM
def test_a_sample_ratio_is_scipys(arms: list[tuple[int, int]]) -> None:
    units, weights = zip(*arms, strict=True)
    found = sample_ratio([EpochUnits(units, weights)])
    if not sum(units):
        assert isinstance(found, CannotSay)
        return
    assert isinstance(found, SampleRatio)
    wanted = chisquare(units, sum(units) * np.array(weights) / sum(weights))
    assert found.chi2 == pytest.approx(wanted.statistic, rel=1e-9, abs=1e-9)
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-6, abs=1e-12)


ARM = st.tuples(st.integers(100, 5_000), st.floats(-5, 50), st.floats(0.1, 20))


@given(ARM, ARM)
@RANDOM
def test_a_difference_in_one_epoch_is_welchs(
    a: tuple[int, float, float], b: tuple[int, float, float]
) -> None:
    arms = [UnitSums(n, n * mean, n * mean**2 + (n - 1) * sd**2) for n, mean, sd in (a, b)]
    found = effect([Sides(*arms)], "mean")
    assert isinstance(found, Effect)
    wanted = ttest_ind_from_stats(b[1], b[2], b[0], a[1], a[2], a[0], equal_var=False)
    assert found.difference.estimate / found.error == pytest.approx(
        wanted.statistic, rel=1e-6, abs=1e-6
    )
    assert (found.p <= 0.05) == found.difference.excludes(0)


@given(st.floats(0, 6), st.integers(100, 100_000), st.sampled_from([0.05, 0.01]))
@settings(max_examples=25, deadline=None)
def test_an_always_valid_p_is_a_mixture_of_normal_likelihoods(
    z: float, units: int, alpha: float
) -> None:
    """The inverse of it, by quadrature; and its interval is what it does not reject."""
    rho2 = tuning(alpha)
    scale = math.sqrt(units * rho2)
    mixed, _ = quad(
        lambda shift: norm.pdf(z - shift) / norm.pdf(z) * norm.pdf(shift / scale) / scale,
        *(-8 * scale, 8 * scale),
        points=(z * scale**2 / (1 + scale**2),),
        limit=200,
    )
    assert float(always_valid_p(z, units, rho2)) == pytest.approx(min(1, 1 / mixed), rel=1e-5)
    edge = float(half_width(1.0, units, rho2, alpha))
    assert float(always_valid_p(edge, units, rho2)) == pytest.approx(alpha, rel=1e-9)
