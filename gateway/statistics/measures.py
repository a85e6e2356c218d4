"""How far two samples of counts are apart, and whether that is more than a tolerance.

`a` are the reference's m counts, `b` the window's n, cell by cell. Formulas: STATISTICS §1.6.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gateway.statistics import tails

Counts = npt.NDArray[np.int64]


def psi(a: Counts, b: Counts, smoothing: float = 0.5) -> float:
    """Population stability index, each count first raised by `smoothing` (Jeffreys: 1/2).

    Without smoothing it is infinite where one side has a cell to itself.
    """
    p, q = a + smoothing, b + smoothing
    p, q = p / p.sum(), q / q.sum()
    both = (p > 0) | (q > 0)
    with np.errstate(divide="ignore"):
        return float(((p - q)[both] * np.log(p[both] / q[both])).sum())


def psi_null(cells: int, m: float, n: float) -> float:
    """What PSI is on the average of two samples without drift (Yurdakul and Naranjo 2020)."""
    return (cells - 1) * (1 / n + 1 / m)


def js_distance(a: Counts, b: Counts) -> float:
    """Jensen-Shannon distance to base 2, from 0 to 1, of the raw frequencies."""
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2
    divergence = (_entropy_terms(p, middle) + _entropy_terms(q, middle)) / 2
    return math.sqrt(max(0.0, divergence))


def _entropy_terms(p: npt.NDArray[np.float64], middle: npt.NDArray[np.float64]) -> float:
    some = p > 0
    return float((p[some] * np.log2(p[some] / middle[some])).sum())


def ks(a: Counts, b: Counts) -> float:
    """Largest distance of the two distribution functions at the cells' ends.

    Of binned numbers it is a lower bound of that of the numbers themselves.
    """
    return float(np.abs(np.cumsum(a) / a.sum() - np.cumsum(b) / b.sum()).max())


def chi_squared(a: Counts, b: Counts) -> tuple[float, int]:
    """Pearson's X² that both are samples of one distribution, and its degrees of freedom."""
    both = a + b
    some = both > 0
    both, m, n = both[some], a.sum(), b.sum()
    expected_a, expected_b = both * m / (m + n), both * n / (m + n)
    x2 = ((a[some] - expected_a) ** 2 / expected_a).sum()
    x2 += ((b[some] - expected_b) ** 2 / expected_b).sum()
    return float(x2), int(some.sum()) - 1


def p_tolerance(x2: float, df: int, n_eff: float, tolerance: float) -> float:
    """P of an X² so large, were the true distance as large as `tolerance` (about a PSI).

    Non-central chi² with `df` degrees of freedom and non-centrality `n_eff` x `tolerance`
    (Potgieter et al., arXiv 2307.11878); n_eff = nm / (n + m). 1 where there is one cell only.
    """
    if df < 1:
        return 1.0
    if tolerance == 0:
        return tails.chi_squared(x2, df)
    p = tails.chi_squared(x2, df, n_eff * tolerance)
    # scipy gives nan far out in the tails, where there is nothing left to tell.
    return p if math.isfinite(p) else float(x2 <= df + n_eff * tolerance)


def wilson(rate: float, n: float, alpha: float) -> tuple[float, float]:
    """Both ends of Wilson's interval of a rate seen in `n` rows, each at confidence 1 - `alpha`."""
    if n <= 0:
        return 0.0, 1.0
    z = tails.normal_point(alpha)
    middle, spread = (
        rate + z * z / (2 * n),
        z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)),
    )
    scale = 1 + z * z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


@lru_cache(maxsize=1024)
def unseen_share(m: int, alpha: float) -> float:
    """Share of a population that lies beyond the extremes of `m` rows of it, but for `alpha`.

    It is Beta(2, m - 1), whatever the distribution.
    """
    return tails.beta_point(alpha, 2, max(1, m - 1))


def unseen_categories(m: int, singles: int, doubles: int, alpha: float) -> float:
    """Share of a population whose categories `m` rows of it leave out, but for `alpha`.

    As many rows as there are categories seen once, with a variance of those left out and of twice
    those seen twice (Good 1953); solved for the share, as Wilson's interval is.
    """
    z = tails.normal_point(alpha)
    spread = z * math.sqrt(singles + 2 * doubles + z * z / 4)
    return min(1.0, (singles + z * z / 2 + spread) / m)
