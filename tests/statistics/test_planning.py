"""Sizes of experiments: what they say is what such experiments then take."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import norm

from gateway.statistics.planning import Size, size_of_means, size_of_rates


@cache
def rates(a: float, b: float, seed: int = 1, **rules: float) -> Size:
    return size_of_rates(a, b, np.random.default_rng(seed), **rules)


@pytest.mark.parametrize(
    ("a", "b", "share", "fixed"),
    [(0.1, 0.12, 0.5, 7_700), (0.1, 0.11, 0.5, 29_500), (0.02, 0.06, 0.1, None)],
)
def test_the_fixed_size_is_the_textbooks(
    a: float, b: float, share: float, fixed: int | None
) -> None:
    size = rates(a, b, share=share)
    if fixed is not None:
        assert size.fixed == pytest.approx(fixed, rel=0.01)
    # And has that power, by the normal approximation the other way round.
    n_a, n_b = size.fixed * (1 - share), size.fixed * share
    spread = np.sqrt(a * (1 - a) / n_a + b * (1 - b) / n_b)
    pooled = (a * n_a + b * n_b) / size.fixed
    null = np.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    assert norm.sf((norm.isf(0.025) * null - (b - a)) / spread) == pytest.approx(0.8, abs=0.001)


def test_an_always_valid_size_is_what_simulated_experiments_took() -> None:
    """Medians that were measured apart from this: 10,000 of halves, 16,800 of a small canary."""
    assert rates(0.1, 0.12).half == pytest.approx(10_000, rel=0.12)
    assert rates(0.005, 0.015, share=0.05).half == pytest.approx(16_800, rel=0.12)


def test_another_seed_says_the_same_and_the_same_seed_the_very_same() -> None:
    assert rates(0.1, 0.12) == rates.__wrapped__(0.1, 0.12)
    assert rates(0.1, 0.12, seed=2).half == pytest.approx(rates(0.1, 0.12).half, rel=0.1)
    assert rates(0.1, 0.12, seed=2).most == pytest.approx(rates(0.1, 0.12).most, rel=0.15)


def test_a_high_rate_is_that_of_those_without_the_event() -> None:
    """Events that nearly every unit has say next to nothing."""
    assert rates(0.9, 0.88) == rates(0.1, 0.12)
    assert rates(0.9, 0.92).method == "exact"


def test_what_is_harder_takes_longer() -> None:
    size = rates(0.1, 0.12)
    assert size.fixed < size.half * 1.2
    assert size.half < size.most
    assert rates(0.1, 0.115).half > size.half
    assert rates(0.1, 0.12, share=0.1).half > 1.5 * size.half
    assert rates(0.1, 0.12, alpha=0.01).half > size.half
    assert rates(0.1, 0.12, power=0.95).fixed > size.fixed
    assert rates(0.1, 0.12, power=0.95).half == pytest.approx(size.half, rel=0.1)


def test_a_ratio_between_the_steps_of_the_mixture_is_left_to_means() -> None:
    """The exact method would never find it, however long it took."""
    size = rates(0.1, 0.102)
    assert size.method == "asymptotic"
    assert size.fixed < size.half < size.most < 10 * size.fixed
    assert rates(0.1, 0.108).method == "exact"


def test_means_are_sized_by_their_spread() -> None:
    size = size_of_means(0.02, 0.3, np.random.default_rng(1))
    assert size.method == "asymptotic"
    z = norm.isf(0.025) + norm.ppf(0.8)
    assert size.fixed == pytest.approx(4 * (0.3 * z / 0.02) ** 2, rel=0.001)
    # A rate of 0.1 has that spread: measured 7,200 to 8,200.
    assert 6_500 < size.half < 8_500
    wider = size_of_means(0.02, 0.6, np.random.default_rng(1))
    assert wider.fixed == pytest.approx(4 * size.fixed, rel=0.001)
    assert wider.half > 3 * size.half


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [(0.5, 0.9, 0.5), (0.001, 0.5, 0.5), (1e-6, 2e-6, 0.01), (0.3, 0.3001, 0.5), (0.5, 0.001, 0.9)],
)
def test_every_size_is_one_in_the_end(a: float, b: float, share: float) -> None:
    size = rates(a, b, share=share)
    assert size.fixed >= 2
    assert 1 <= size.half <= size.most < 10 * max(size.fixed, 50)
