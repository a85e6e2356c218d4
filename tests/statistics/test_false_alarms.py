"""How often it cries wolf, and how much it sees: simulated, beside rules that do worse.

Each column is a sample of its own of one population, so that a window of hundreds of columns is
hundreds of runs. `alpha` is given as if there were 30.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from drifting import numbers
from scipy.stats import chi2, chisquare, norm

from gateway.statistics.drift import Rules, between, of_reference
from gateway.statistics.profiler import reference_columns
from gateway.statistics.reference import Profile, ReferenceColumn
from gateway.statistics.verdict import ColumnDrift
from gateway.statistics.window import Bins, Window

Floats = npt.NDArray[np.float64]
LARGE, SMALL = 20_000, 426
#: Correlation of the rows of one unit.
ICC = 0.8
_ZIPF = 1 / np.arange(1, 501)
#: Upper ends in the latent normal number of three categories, of five hundred, and of eighty, all
#: of which a reference may name, but for those that a small one happened to miss.
_THREE = norm.ppf([0.5, 0.8])
_MANY = norm.ppf(np.cumsum(_ZIPF / _ZIPF.sum())[:-1])
_SOME = norm.ppf(np.cumsum(_ZIPF[:80] / _ZIPF[:80].sum())[:-1])
_NAMES = np.array([f"c{k:03}" for k in range(500)])

#: From latent normal numbers to a column's values.
POPULATIONS: dict[str, Callable[[Floats], Any]] = {
    "normal": lambda z: z,
    "lognormal": lambda z: np.exp(2 * z),
    "zero-inflated": lambda z: np.maximum(z, 0.0),
    "three categories": lambda z: _NAMES[np.searchsorted(_THREE, z)],
    "some categories": lambda z: _NAMES[np.searchsorted(_SOME, z)],
    "many categories": lambda z: _NAMES[np.searchsorted(_MANY, z)],
}


def latent(rng: np.random.Generator, rows: int, each: int) -> Floats:
    """Normal numbers, `each` of a unit, whose own share of the variance is ICC."""
    if each == 1:
        return rng.normal(size=rows)
    of_unit = np.repeat(rng.normal(size=rows // each), each)
    return float(np.sqrt(ICC)) * of_unit + float(np.sqrt(1 - ICC)) * rng.normal(size=rows)


@cache
def references(population: str, rows: int, count: int) -> tuple[ReferenceColumn, ...]:
    rng = np.random.default_rng([rows, len(population)])
    columns = {
        f"{population} {k}": numbers(POPULATIONS[population](rng.normal(size=rows)))
        for k in range(count)
    }
    return reference_columns(columns)


def bins(rows: int, count: int) -> Bins:
    columns = [column for name in POPULATIONS for column in references(name, rows, count)]
    return Bins(Profile(rows, tuple(columns)).identified())


def window(among: Bins, seed: int, rows: int, each: int = 1, *, scaled: bool = True) -> Window:
    """New rows for each column. Not `scaled`: as if every row were of a unit of its own."""
    rng = np.random.default_rng([seed, rows, each])
    found = Window(among)
    units = rng.integers(2**64, size=rows // each, dtype=np.uint64).repeat(each)
    found.add(rows, {}, (units if scaled else range(rows)), "front")
    for name, counts in found.columns.items():
        values = POPULATIONS[name.rsplit(" ", 1)[0]](latent(rng, rows, each))
        if counts.binning.ordered:  # without the way through a list, which takes most of the time
            counts._add_numbers(values, 0, 0)
        else:
            counts.add(values.tolist())
    return found


def as_of_thirty(found: Window, **rules: float) -> Rules:
    return Rules(alpha=0.01 / 30 * len(found.columns), **rules)  # type: ignore[arg-type]


def share(found: Sequence[ColumnDrift], rule: Callable[[ColumnDrift], bool]) -> float:
    return sum(map(rule, found)) / len(found)


def alarms(drift: ColumnDrift) -> bool:
    return drift.severity in ("alert", "critical")


CASES = [
    (rows, m, each) for rows in (100, 1_000, 50_000) for m in (LARGE, SMALL) for each in (1, 10)
]


@pytest.mark.parametrize(("rows", "m", "each"), CASES)
def test_without_drift_there_is_no_alarm(rows: int, m: int, each: int) -> None:
    """Two windows of 150 columns, and as good as no warning; alpha allows one alarm in 3,000."""
    count = 25 if rows < 50_000 else 8
    found = []
    for seed in range(1 if rows == 50_000 else 2):
        one = window(bins(m, count), seed, rows, each)
        found += of_reference(one, as_of_thirty(one))
    assert len({drift.severity for drift in found} - {"insufficient"}) > 0
    assert [drift for drift in found if alarms(drift)] == []
    assert share(found, lambda drift: drift.severity == "warn") <= 0.01


def test_without_tolerance_and_units_repeated_users_are_a_drift() -> None:
    """The bare p-value, as though rows were news of each other: what the scaling is for."""
    one = window(bins(LARGE, 25), 1, 1_000, 10, scaled=False)
    bare = share(of_reference(one, as_of_thirty(one, tolerance=0)), alarms)
    assert bare > 0.1
    scaled = window(bins(LARGE, 25), 1, 1_000, 10)
    assert share(of_reference(scaled, as_of_thirty(scaled, tolerance=0)), alarms) < 0.02


def test_tolerance_alone_does_not_bear_a_hundred_rows_of_a_user() -> None:
    one = window(bins(LARGE, 25), 2, 2_000, 100, scaled=False)
    assert share(of_reference(one, as_of_thirty(one)), alarms) > 0.2
    scaled = window(bins(LARGE, 25), 2, 2_000, 100)
    assert share(of_reference(scaled, as_of_thirty(scaled)), alarms) == 0


def test_a_rule_of_thumb_cries_wolf_where_ours_does_not() -> None:
    """PSI above 0.1 in a small window, and a reference taken for the truth in a large one."""
    one = window(bins(LARGE, 25), 3, 100)
    ordered = [d for d in of_reference(one, Rules()) if d.column.startswith(("normal", "logn"))]
    assert share(ordered, lambda drift: (drift.psi or 0) > 0.1) > 0.15
    large = window(bins(SMALL, 8), 3, 50_000)
    believed = [
        chisquare(c.cells, c.binning.reference / c.binning.reference.sum() * c.counted).pvalue
        for name, c in large.columns.items()
        if name.startswith(("normal", "logn"))
    ]
    assert np.mean(np.array(believed) < 0.01 / 30) > 0.9


def test_two_arms_of_one_population_are_no_broken_split() -> None:
    """A canary of a twentieth of the users, with and without repeated users."""
    for each in (1, 10):
        among = bins(SMALL, 25)
        baseline, canary = window(among, 4, 10_000, each), window(among, 5, 500, each)
        found = between(baseline, canary, as_of_thirty(canary))
        assert [drift for drift in found if drift.rank] == []


POWER = [
    # rows, shift, scale, tolerance, the share that STATISTICS §1.3 gives
    (100, 0.5, 1.0, 0.05, 0.19),
    (100, 1.0, 1.0, 0.05, 1.0),
    (300, 0.5, 1.0, 0.02, 0.98),
    (300, 0.5, 1.0, 0.05, 0.85),
    (300, 0.5, 1.0, 0.1, 0.35),
    (300, 0.0, 1.5, 0.05, 0.77),
    (1_000, 0.1, 1.0, 0.05, 0.0),
    (1_000, 0.3, 1.0, 0.02, 0.88),
    (1_000, 0.3, 1.0, 0.05, 0.11),
    (1_000, 0.0, 1.3, 0.05, 0.28),
    (1_000, 0.0, 1.5, 0.1, 0.90),
    (10_000, 0.1, 1.0, 0.05, 0.0),
    (10_000, 0.3, 1.0, 0.05, 0.97),
    (10_000, 0.3, 1.0, 0.1, 0.0),
    (10_000, 0.0, 1.3, 0.05, 1.0),
]


@pytest.mark.parametrize(("rows", "shift", "scale", "tolerance", "wanted"), POWER)
def test_it_sees_what_the_theory_says_and_no_less_than_it_may_overlook(
    rows: int, shift: float, scale: float, tolerance: float, wanted: float
) -> None:
    """In 200 windows, by the distribution alone. Neither of two mistakes would pass: the window's
    rows in place of both samples' for n_eff, or twice the bins."""
    (column,) = references("normal", LARGE, 1)
    binning = Bins(Profile(LARGE, (column,)).identified())
    rng = np.random.default_rng([rows, int(shift * 10), int(scale * 10)])
    rules = Rules(alpha=0.01 / 30, tolerance=tolerance)
    seen = 0
    for _ in range(200):
        one = Window(binning)
        one.add(rows, {}, range(rows), "front")
        one.columns[column.name]._add_numbers(shift + scale * rng.normal(size=rows), 0, 0)
        (drift,) = of_reference(one, rules)
        seen += "distribution" in drift.reason and (drift.p_tolerance or 0) < rules.alpha
    error = np.sqrt(max(wanted * (1 - wanted), 0.01) / 200)
    assert seen / 200 == pytest.approx(wanted, abs=4 * error + 0.02)


def test_a_large_window_finds_no_drift_in_a_trifle() -> None:
    """A tenth of a standard deviation: as sure as can be, and nothing to act on."""
    (column,) = references("normal", LARGE, 1)
    one = Window(Bins(Profile(LARGE, (column,)).identified()))
    one.add(50_000, {}, range(50_000), "front")
    one.columns[column.name]._add_numbers(np.random.default_rng(6).normal(0.1, 1, 50_000), 0, 0)
    (drift,) = of_reference(one, Rules())
    assert drift.severity == "ok"
    assert chi2.sf(drift.chi2 or 0, drift.df or 0) < 1e-20
