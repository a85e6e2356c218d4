"""A model that answers the same rows beside another: how much more often its values are right.

Each row is its own control, so only rows on which the two differ say anything, and the rates of
either, and how they move, cancel out. One-sample confidence sequence of the rows' differences,
which are -1, 0 or 1, by bucket of units. Formulas: STATISTICS §3.4 (A), §6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.statistics.sequences import (
    ALPHA,
    PLANNED_UNITS,
    CannotSay,
    Interval,
    log_mixture,
    sequence,
    tuning,
)
from gateway.statistics.sums import Floats

#: Before a normal approximation is believed.
LEAST_ROWS, LEAST_DIFFERING = 100, 25
#: A paired sum has no baseline's mean in it.
_NO_BASELINE = CannotSay("of pairs only the difference is known")


@dataclass(frozen=True, slots=True)
class Paired:
    """The mean difference of a row: the other's value less the baseline's."""

    difference: Interval
    error: float
    #: ln of the e-value at this look; the caller keeps the largest so far.
    log_e: float
    rows: int
    differing: int

    @property
    def p(self) -> float:
        """Always-valid, at this look."""
        return math.exp(min(0.0, -self.log_e))

    @property
    def relative(self) -> CannotSay:
        return _NO_BASELINE

    @property
    def direction(self) -> int:
        """1 if the other is right more often, -1 if it is so less often."""
        return int(np.sign(self.difference.estimate))


def paired(
    values: npt.ArrayLike,
    counts: npt.ArrayLike,
    differing: int,
    *,
    alpha: float = ALPHA,
    planned_units: int = PLANNED_UNITS,
) -> Paired | CannotSay:
    """Of the sums of differences and the numbers of rows, by bucket, at one look."""
    rows = int(np.sum(counts))
    for name, count, least in (
        ("labelled rows that both answered", rows, LEAST_ROWS),
        ("rows on which they differ", differing, LEAST_DIFFERING),
    ):
        if count < least:
            return CannotSay(f"there are {count:,} of the {least} {name} it takes")
    mean, error = (float(found) for found in mean_and_error(values, counts))
    if not error > 0:
        return CannotSay("all differences are the same, so nothing is known of their spread")
    rho2 = tuning(alpha, planned_units)
    log_e = float(log_mixture(mean / error, rows, rho2))
    return Paired(sequence(mean, error, rows, rho2, alpha), error, log_e, rows, differing)


def mean_and_error(values: npt.ArrayLike, counts: npt.ArrayLike) -> tuple[Floats, Floats]:
    """The mean of all rows, and its error by the delta method over buckets: (..., buckets) → (...).

    The error is 0 where it is not known: below two buckets.
    """
    summed, rows = np.asarray(values, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    total = np.maximum(rows.sum(axis=-1), 1)
    mean = summed.sum(axis=-1) / total
    off = (summed - mean[..., None] * rows) / total[..., None]
    held = np.maximum((rows > 0).sum(axis=-1), 1)
    spread = np.square(off).sum(axis=-1) * held / np.maximum(held - 1, 1)
    return mean, np.sqrt(spread)


def evidence_at_looks(
    values: npt.ArrayLike,
    counts: npt.ArrayLike,
    differing: npt.ArrayLike,
    *,
    alpha: float = ALPHA,
    planned_units: int = PLANNED_UNITS,
) -> tuple[Floats, Floats]:
    """What `paired` finds at each look, (looks, buckets) → ln E, and the mean: (looks,).

    ln E is minus infinity where it cannot say.
    """
    mean, error = mean_and_error(values, counts)
    rows = np.asarray(counts, dtype=np.float64).sum(axis=-1)
    told = (rows >= LEAST_ROWS) & (np.asarray(differing) >= LEAST_DIFFERING) & (error > 0)
    z = mean / np.where(told, error, 1)
    log_e = log_mixture(z, rows, tuning(alpha, planned_units))
    return np.where(told, log_e, -np.inf), mean
