"""Whether units fall on the arms as their weights say; if not, no result can be believed.

The same check serves outcomes, fallbacks or missing ids per arm. Formulas: STATISTICS §3.4 (C).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.statistics.rates import log_dirichlet
from gateway.statistics.sequences import CannotSay
from gateway.statistics.tails import chi_squared

STRENGTH, LEAST_E = 1_000.0, 100.0


@dataclass(frozen=True, slots=True)
class EpochUnits:
    """Units by arm that were first seen in this epoch, and the weights by which they were split.

    A unit that returns is not counted again: its arm was drawn once, and is no news.
    """

    units: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.units) != len(self.weights) or len(self.units) < 2:
            raise ValueError(f"must have two arms or more, with a weight each. Given: {self}")
        if not (min(self.weights) > 0 and math.isfinite(sum(self.weights))):
            raise ValueError(f"weights: must be above 0. Given: {self.weights}")
        if min(self.units) < 0:
            raise ValueError(f"units: must not be negative. Given: {self.units}")

    @property
    def shares(self) -> tuple[float, ...]:
        total = sum(self.weights)
        return tuple(weight / total for weight in self.weights)


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The check of all epochs: `log_e` alarms, the classical p is for display only."""

    #: ln of the e-value at this look; the caller keeps the largest so far.
    log_e: float
    chi2: float
    df: int
    p: float
    units: int

    @property
    def mismatch(self) -> bool:
        return self.log_e >= math.log(LEAST_E)


def sample_ratio(
    epochs: Sequence[EpochUnits], strength: float = STRENGTH
) -> SampleRatio | CannotSay:
    """The epochs' e-values multiplied, and their X² and degrees of freedom added."""
    told = [one for one in epochs if sum(one.units)]
    if not told:
        return CannotSay("no unit has been assigned yet")
    x2, df, log_e = 0.0, 0, 0.0
    for one in told:
        seen = np.array(one.units, dtype=np.float64)
        expected = seen.sum() * np.array(one.shares)
        x2 += float((np.square(seen - expected) / expected).sum())
        df += len(seen) - 1
        log_e += float(log_dirichlet(seen, one.shares, strength))
    units = sum(sum(one.units) for one in told)
    return SampleRatio(log_e, x2, df, chi_squared(x2, df), units)
