"""Tails of distributions, and the like, by scipy.

It is imported at the first call: that takes a second, and a monitor that is only started and ended
closes no window. What numpy does as well stands here too, for those who need no more than that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


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


def log_beta(a: Any, b: Any) -> Floats:
    """ln of the beta function; a and b may be arrays."""
    from scipy.special import betaln

    return np.asarray(betaln(a, b))


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function is 0 that has another sign at either end; to 1e-12."""
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-12))


def log_odds(share: Any) -> Floats:
    """ln(p / (1 - p)) of shares strictly between 0 and 1."""
    p = np.asarray(share, dtype=np.float64)
    return np.asarray(np.log(p) - np.log1p(-p))


def log_share(odds: Any) -> Floats:
    """ln p of ln(p / (1 - p)): of all numbers exact to the last digits."""
    return np.asarray(-np.logaddexp(0, -np.asarray(odds, dtype=np.float64)))


def log_sum(exponents: Floats) -> Floats:
    """ln of the sum of e^x over the last axis, however large or small they are."""
    return np.asarray(np.logaddexp.reduce(exponents, axis=-1))
