"""Tails of distributions, by scipy.

It is imported at the first call: that takes a second, and a monitor that is only started and ended
closes no window.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def _scipy() -> Any:
    import scipy.stats

    return scipy.stats


def chi_squared(x: float, df: int, noncentrality: float = 0.0) -> float:
    """P of a (non-central) chi² variable above `x`; nan where scipy can tell no more."""
    if noncentrality == 0:
        return float(_scipy().chi2.sf(x, df))
    return float(_scipy().ncx2.sf(x, df, noncentrality))


@cache
def normal_point(alpha: float) -> float:
    """What a standard normal variable exceeds with probability `alpha`."""
    return float(_scipy().norm.isf(alpha))


def beta_point(alpha: float, a: float, b: float) -> float:
    """What a Beta(a, b) variable exceeds with probability `alpha`."""
    return float(_scipy().beta.isf(alpha, a, b))
