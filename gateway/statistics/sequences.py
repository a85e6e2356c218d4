"""Confidence sequences of means: intervals that hold at every look, however often one looks.

Asymptotic, of a normal mixture (Waudby-Smith et al., arXiv 2103.06476), the same as a mixture
sequential probability ratio test. Formulas: STATISTICS §3.4 (A). All functions take arrays as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

#: Units at which an interval is to be tightest, fixed before the start.
PLANNED_UNITS = 10_000
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class CannotSay:
    """In place of a finding: there is too little to say anything, which is not "no effect"."""

    reason: str


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the ends of its confidence sequence at this look; either may be infinite."""

    estimate: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        return not self.low <= value <= self.high

    def within(self, margin: float) -> bool:
        return -margin <= self.low and self.high <= margin


def tuning(alpha: float = ALPHA, planned_units: int = PLANNED_UNITS) -> float:
    """ρ², the variance of the mixture in units of a unit's own, for the narrowest interval then."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: must lie between 0 and 1, without them. Given: {alpha}")
    if planned_units < 1:
        raise ValueError(f"planned_units: must be at least 1. Given: {planned_units}")
    return (-2 * math.log(alpha) + math.log1p(-2 * math.log(alpha))) / planned_units


def half_width(error: Any, units: Any, rho2: float, alpha: float = ALPHA) -> Any:
    """How far the interval reaches to either side of an estimate with that standard error."""
    grown = np.multiply(units, rho2)
    return error * np.sqrt((1 + 1 / grown) * np.log((grown + 1) / alpha**2))


def log_mixture(z: Any, units: Any, rho2: float) -> npt.NDArray[np.float64]:
    """ln of the e-value at this look, of an estimate z standard errors from the null value."""
    grown = np.multiply(units, rho2)
    return np.asarray(grown * np.square(z) / (2 * (grown + 1)) - 0.5 * np.log1p(grown))


def always_valid_p(z: Any, units: Any, rho2: float) -> npt.NDArray[np.float64]:
    """P at this look of an estimate z standard errors from the null value; at most 1.

    The smallest so far is valid too: at most alpha at any look, in all but alpha of experiments.
    """
    return np.asarray(np.exp(np.minimum(0.0, -log_mixture(z, units, rho2))))


def sequence(
    estimate: float, error: float, units: int, rho2: float, alpha: float = ALPHA
) -> Interval:
    """The interval of one estimate, such as a mean of differences of `units` pairs."""
    width = float(half_width(error, units, rho2, alpha))
    return Interval(estimate, estimate - width, estimate + width)
