"""What an experiment adds up, for each epoch and arm: all that its read-out is computed from.

Everything merges by `+`. Integers merge exactly, and so do multiples of a power of two, such as
values rounded to 2⁻²⁰, while a bucket's sum stays below 2³³; other floats to their last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from gateway.names import BUCKETS

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class UnitSums:
    """A metric with one value a unit. Each unit counts in one epoch only: that of its exposure."""

    units: int
    total: float
    squares: float

    @classmethod
    def of_events(cls, units: int, events: int) -> UnitSums:
        """Of a binary metric: `events` of the units had it."""
        return cls(units, events, events)

    @property
    def mean(self) -> float:
        return self.total / self.units

    @property
    def variance(self) -> float:
        """Of a unit's value, with n - 1; at least two units."""
        spread = self.squares - self.total * self.total / self.units
        return max(0.0, spread) / (self.units - 1)

    def __add__(self, other: UnitSums) -> UnitSums:
        return UnitSums(
            self.units + other.units, self.total + other.total, self.squares + other.squares
        )


@dataclass(frozen=True, slots=True, eq=False)
class BucketSums:
    """A metric over any number of rows a unit, by bucket of units: sum of `values` by `counts`.

    `values` are the rows' outcomes and `counts` how many there were, for a mean over rows; any
    numerator and denominator, for a ratio; a unit's sum and 1, for a mean over units. Both have
    256 elements. Units may return in other epochs: their bucket is the same there.
    """

    units: int
    values: Floats
    counts: Floats

    def __post_init__(self) -> None:
        for name in ("values", "counts"):
            given = np.array(getattr(self, name), dtype=np.float64)
            if given.shape != (BUCKETS,) or not np.isfinite(given).all():
                raise ValueError(f"{name}: must be {BUCKETS} finite numbers. Given: {given!r}")
            given.flags.writeable = False
            object.__setattr__(self, name, given)

    @classmethod
    def nothing(cls) -> BucketSums:
        return cls(0, np.zeros(BUCKETS), np.zeros(BUCKETS))

    @property
    def held(self) -> int:
        """Buckets with anything in them: the clusters that there are."""
        return int(((self.values != 0) | (self.counts != 0)).sum())

    @property
    def mean(self) -> float:
        return float(self.values.sum() / self.counts.sum())

    def __add__(self, other: BucketSums) -> BucketSums:
        return BucketSums(
            self.units + other.units, self.values + other.values, self.counts + other.counts
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BucketSums)
            and self.units == other.units
            and np.array_equal(self.values, other.values)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]


Sums = TypeVar("Sums", UnitSums, BucketSums)


@dataclass(frozen=True, slots=True)
class Sides(Generic[Sums]):
    """One epoch of a contrast: the sums of the baseline and of the candidate."""

    baseline: Sums
    candidate: Sums

    def __add__(self, other: Sides[Sums]) -> Sides[Sums]:
        """More of the same epoch; sums of different epochs are never added."""
        return Sides(self.baseline + other.baseline, self.candidate + other.candidate)


@dataclass(frozen=True, slots=True)
class EventCounts:
    """One epoch of a contrast of events: units that had it, for the first time in any epoch.

    `share` is the candidate's part of the two arms' weights, strictly between 0 and 1; an epoch
    in which one of them had no weight says nothing of the contrast.
    """

    candidate: int
    baseline: int
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share: must lie between 0 and 1, without them. Given: {self.share}")
        if min(self.candidate, self.baseline) < 0:
            raise ValueError(f"events: must not be negative. Given: {self}")

    @property
    def both(self) -> int:
        return self.candidate + self.baseline

    def __add__(self, other: EventCounts) -> EventCounts:
        """More of the same epoch."""
        if self.share != other.share:
            raise ValueError(f"epochs of different weights: {self.share} and {other.share}")
        return EventCounts(
            self.candidate + other.candidate, self.baseline + other.baseline, self.share
        )


def product(numbers: Floats, matrix: Floats) -> Floats:
    """(..., n) times (n, ...), added up in one order on every machine.

    `@` is BLAS, whose last digit depends on the processor; a read-out must not.
    """
    total = np.zeros(numbers.shape[:-1] + matrix.shape[1:])
    for k, row in enumerate(matrix):
        total = total + np.multiply.outer(numbers[..., k], row)
    return np.asarray(total)


def columns(epochs: Sequence[EventCounts]) -> tuple[Floats, Floats, Floats]:
    """The candidate's events, those of both arms, and the candidate's shares: (epochs,) each."""
    candidate = np.array([one.candidate for one in epochs], dtype=np.float64)
    both = np.array([one.both for one in epochs], dtype=np.float64)
    return candidate, both, np.array([one.share for one in epochs], dtype=np.float64)
