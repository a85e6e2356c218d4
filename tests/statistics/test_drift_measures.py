"""Measures of drift beside scipy's, on fixed counts and on random ones."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drifting import bins_of, numbers, profile_of, window_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import logsumexp
from scipy.stats import (
    beta,
    binomtest,
    chi2,
    chi2_contingency,
    entropy,
    ks_2samp,
    ncx2,
    poisson,
)

from gateway.statistics.drift import Rules, of_reference
from gateway.statistics.measures import (
    Counts,
    chi_squared,
    js_distance,
    ks,
    p_tolerance,
    psi,
    psi_null,
    unseen_categories,
    unseen_share,
    wilson,
)
from gateway.statistics.reference import ReferenceColumn
from gateway.statistics.window import Bins

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "drift.json").read_text())
CELLS = (
    st.integers(2, 40)
    .flatmap(
        lambda cells: st.tuples(
            *[st.lists(st.integers(0, 400), min_size=cells, max_size=cells)] * 2
        )
    )
    .filter(lambda pair: sum(pair[0]) > 0 and sum(pair[1]) > 0)
)
RANDOM = settings(max_examples=60, deadline=None)


def arrays(pair: tuple[list[int], list[int]]) -> tuple[Counts, Counts]:
    return np.array(pair[0], dtype=np.int64), np.array(pair[1], dtype=np.int64)


def near(vector: dict[str, Any]) -> Any:
    return pytest.approx(
        vector["value"], rel=vector.get("relative", 0), abs=vector.get("tolerance", 0)
    )


@pytest.mark.parametrize("vector", VECTORS["counts"], ids=lambda vector: vector["name"])
def test_the_golden_numbers_come_out(vector: dict[str, Any]) -> None:
    a, b = arrays((vector["a"], vector["b"]))
    for one in vector.get("psi", ()):
        assert psi(a, b, one["smoothing"]) == near(one)
    if "js_distance" in vector:
        assert js_distance(a, b) == near(vector["js_distance"])
        assert ks(a, b) == near(vector["ks"])
        assert psi_null(len(a), a.sum(), b.sum()) == near(vector["psi_null"])
    x2, df = chi_squared(a, b)
    assert (x2, df) == (near(vector["chi2"]), vector["chi2"]["df"])
    n_eff = a.sum() * b.sum() / (a.sum() + b.sum())
    if "p" in vector["chi2"]:
        assert p_tolerance(x2, df, n_eff, 0) == pytest.approx(vector["chi2"]["p"], abs=1e-10)
    for one in vector["p_tolerance"]:
        assert p_tolerance(x2, df, n_eff, one["tolerance_of_drift"]) == near(one)


@pytest.mark.parametrize("vector", VECTORS["bins"], ids=lambda vector: str(vector["edges"]))
def test_the_golden_bins_come_out(vector: dict[str, Any]) -> None:
    column = ReferenceColumn(
        "x", "numeric", edges=tuple(vector["edges"]), counts=(1,) * (len(vector["edges"]) + 1)
    )
    counts = window_of(bins_of(column), {"x": vector["values"]}).columns["x"]
    assert counts.cells.tolist() == vector["counts"]
    assert counts.missing == vector["missing"]


@given(CELLS)
@RANDOM
def test_psi_is_both_entropies(pair: tuple[list[int], list[int]]) -> None:
    a, b = arrays(pair)
    for smoothing in (0.0, 0.5):
        p, q = a + smoothing, b + smoothing
        wanted = entropy(p, q) + entropy(q, p)
        assert psi(a, b, smoothing) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert psi(a, b) >= 0


@given(CELLS)
@RANDOM
def test_the_jensen_shannon_distance_is_scipys(pair: tuple[list[int], list[int]]) -> None:
    a, b = arrays(pair)
    # Where it is nearly nothing its square is all that rounding leaves of either.
    assert js_distance(a, b) ** 2 == pytest.approx(jensenshannon(a, b, 2) ** 2, abs=1e-12)
    assert 0 <= js_distance(a, b) <= 1 + 1e-12
    assert js_distance(a, b) == pytest.approx(js_distance(b, a), abs=1e-9)


@given(CELLS)
@settings(max_examples=60, deadline=None)
def test_ks_is_scipys_of_the_bins_numbers(pair: tuple[list[int], list[int]]) -> None:
    a, b = arrays(pair)
    places = np.arange(len(a))
    wanted = ks_2samp(np.repeat(places, a), np.repeat(places, b), method="asymp").statistic
    assert ks(a, b) == pytest.approx(wanted, abs=1e-12)


@given(CELLS)
@RANDOM
def test_chi_squared_and_its_p_are_scipys(pair: tuple[list[int], list[int]]) -> None:
    a, b = arrays(pair)
    some = a + b > 0
    assume(some.sum() > 1)
    wanted = chi2_contingency(np.array([a[some], b[some]]), correction=False)
    x2, df = chi_squared(a, b)
    assert x2 == pytest.approx(wanted.statistic, rel=1e-10, abs=1e-10)
    assert df == wanted.dof
    assert p_tolerance(x2, df, 1.0, 0.0) == pytest.approx(wanted.pvalue, rel=1e-9, abs=1e-300)
    n_eff = a.sum() * b.sum() / (a.sum() + b.sum())
    for tolerance in (0.02, 0.05, 0.2):
        theirs = ncx2.sf(x2, df, n_eff * tolerance)
        if math.isfinite(theirs):
            assert p_tolerance(x2, df, n_eff, tolerance) == pytest.approx(theirs, rel=1e-6)


@given(
    df=st.integers(1, 100),
    center=st.floats(0, 30_000),
    away=st.floats(-6, 8),
)
@RANDOM
def test_p_is_a_mixture_of_central_ones(df: int, center: float, away: float) -> None:
    """Without scipy's non-central distribution: as many degrees more as a Poisson number says."""
    x2 = max(0.0, df + center + away * math.sqrt(2 * (df + 2 * center)))
    most = int(center / 2 + 40 * math.sqrt(center / 2 + 1) + 200)
    more = np.arange(most)
    logs = poisson.logpmf(more, center / 2) + chi2.logsf(x2, df + 2 * more)
    wanted = math.exp(min(0.0, logsumexp(logs)))
    assert p_tolerance(x2, df, center / 0.05, 0.05) == pytest.approx(wanted, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("n_eff", [50.0, 1e3, 1e5, 5e5, 1e7])
@pytest.mark.parametrize("df", [1, 9, 100])
def test_p_falls_from_one_to_nothing_wherever_scipy_can_still_tell(df: int, n_eff: float) -> None:
    """The rule asks whether it is below alpha, so that a nan or a step back would be an alarm."""
    distances = np.concatenate(([0], np.geomspace(1e-5, 4, 60)))
    found = [p_tolerance(df + n_eff * d, df, n_eff, 0.05) for d in distances.tolist()]
    assert all(0 <= p <= 1 for p in found)
    assert all(low <= high + 1e-9 for high, low in pairwise(found))
    assert found[0] > 0.5
    assert found[-1] < 1e-6


def test_a_single_cell_is_no_drift() -> None:
    x2, df = chi_squared(np.array([5, 0]), np.array([9, 0]))
    assert (x2, df, p_tolerance(x2, df, 100, 0.05)) == (0, 0, 1)


def test_psi_without_drift_has_its_expected_mean() -> None:
    """The mean over samples, beside theory's: half the bins, or a sample forgotten, would show."""
    rng = np.random.default_rng(11)
    a, b = (rng.multinomial(n, [0.1] * 10, size=4_000) for n in (2_000, 500))
    found = np.mean([psi(one, other) for one, other in zip(a, b, strict=True)])
    assert found == pytest.approx(psi_null(10, 2_000, 500), rel=0.03)


@given(
    count=st.integers(0, 3_000),
    more=st.integers(0, 3_000),
    alpha=st.sampled_from([0.05, 0.01, 0.01 / 30, 0.01 / 300]),
)
@RANDOM
def test_wilsons_ends_are_scipys_at_twice_the_confidence(
    count: int, more: int, alpha: float
) -> None:
    n = count + more
    assume(n > 0)
    wanted = binomtest(count, n).proportion_ci(confidence_level=1 - 2 * alpha, method="wilson")
    assert wilson(count / n, n, alpha) == pytest.approx((wanted.low, wanted.high), abs=1e-10)


def test_nothing_known_of_a_rate_is_everything_possible() -> None:
    assert wilson(0.5, 0, 0.01) == (0, 1)


@pytest.mark.parametrize("m", [30, 426, 20_000])
@pytest.mark.parametrize("alpha", [0.2, 0.05])
def test_what_lies_beyond_the_extremes_is_no_more_in_all_but_alpha(m: int, alpha: float) -> None:
    """By simulation of any continuous distribution: that of its own quantiles."""
    rng = np.random.default_rng(12)
    share = unseen_share(m, alpha)
    assert beta.sf(share, 2, m - 1) == pytest.approx(alpha, rel=1e-9)
    runs = max(2_000, min(20_000, 10_000_000 // m))
    rows = rng.random((runs, m)) if m < 1_000 else None
    if rows is None:  # the smallest and the largest of so many, by their own distribution
        low = rng.beta(1, m, runs)
        high = low + (1 - low) * rng.beta(m - 1, 1, runs)
    else:
        low, high = rows.min(axis=1), rows.max(axis=1)
    beyond = low + 1 - high
    error = math.sqrt(alpha * (1 - alpha) / runs)
    assert (beyond > share).mean() == pytest.approx(alpha, abs=4 * error)


@pytest.mark.parametrize("m", [150, 426, 1_000])
@pytest.mark.parametrize("population", ["zipf", "uniform", "geometric", "three"])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_categories_left_out_are_no_more_in_all_but_alpha(
    population: str, m: int, alpha: float
) -> None:
    ranks = np.arange(1, 81)
    shares = {
        "zipf": 1 / ranks,
        "uniform": np.ones(80),
        "geometric": 0.9**ranks,
        "three": np.array([0.6, 0.37, 0.03]),
    }[population]
    shares = shares / shares.sum()
    drawn = np.random.default_rng(13).multinomial(m, shares, size=4_000)
    left_out = ((drawn == 0) * shares).sum(axis=1)
    known: dict[tuple[int, int], float] = {}
    bounds = np.array(
        [
            known.setdefault(pair, unseen_categories(m, *pair, alpha))
            for pair in zip(
                (drawn == 1).sum(axis=1).tolist(), (drawn == 2).sum(axis=1).tolist(), strict=True
            )
        ]
    )
    assert (left_out > bounds).mean() <= alpha + 4 * math.sqrt(alpha / 4_000)
    # The number of categories seen once alone would be too low half of the time.
    if population != "three" and m < 1_000:
        singles = (drawn == 1).sum(axis=1) / m
        assert (left_out > singles).mean() > 0.2
        # And it is no more than what such a reference may miss.
        assert bounds.mean() < left_out.mean() * 2.5 + 12 / m


def test_a_bound_on_what_is_left_out_is_a_share() -> None:
    assert unseen_categories(100, 100, 0, 0.0001) == 1
    assert unseen_categories(10**6, 0, 0, 0.0003) < 2e-5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shift", ["none", "mean", "scale", "zeros", "tail"])
def test_ks_of_bins_is_no_more_than_the_exact_one_and_hardly_less(seed: int, shift: str) -> None:
    rng = np.random.default_rng(seed)
    reference, window = rng.normal(size=8_000), rng.normal(size=4_000)
    if shift == "mean":
        window += 0.1 + 0.2 * seed
    elif shift == "scale":
        window *= 1.1 + 0.2 * seed
    elif shift == "zeros":
        reference = np.abs(reference) * (rng.random(8_000) < 0.4)
        window = np.abs(window) * (rng.random(4_000) < 0.6)
    elif shift == "tail":
        window[: 40 * (seed + 1)] += 6
    exact = ks_2samp(reference, window, method="asymp").statistic
    profile = profile_of({"x": numbers(reference)})
    (drift,) = of_reference(window_of(Bins(profile), {"x": numbers(window)}), Rules())
    assert drift.ks is not None
    assert drift.ks <= exact + 1e-12
    assert drift.ks >= exact - 0.01
