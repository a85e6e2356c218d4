"""What a simulation brings home: cells of a table, each with what was promised of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
#: Standard errors of the simulation that are held against nobody.
_NOISE = 3.0
#: Medians of STATISTICS have an error of their own, and other steps between two looks. A median of
#: a few errors may be off by one.
_SLACK = 1.1


@dataclass(frozen=True, slots=True)
class Promise:
    """A bound: of an error rate, of a share of effects that are found, or of a median."""

    kind: Literal["at most", "at least", "median"]
    value: float

    def kept(self, measured: float, error: float, runs: int) -> bool:
        """Up to what the simulation itself may be off by chance."""
        if self.kind == "median":
            return measured - _NOISE * error <= max(_SLACK * self.value, self.value + 1)
        noise = _NOISE * math.sqrt(self.value * (1 - self.value) / runs)
        if self.kind == "at most":
            return measured <= self.value + noise
        return measured >= self.value - noise


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure. `ours` is promised; a foil is a usual method, which is asked for the same."""

    setting: str
    method: str
    measured: float
    #: Of the simulation: a standard error.
    error: float
    runs: int
    promise: Promise | None = None
    ours: bool = True

    @property
    def kept(self) -> bool | None:
        """None where nothing is promised."""
        if self.promise is None:
            return None
        return self.promise.kept(self.measured, self.error, self.runs)


def at_most(value: float) -> Promise:
    return Promise("at most", value)


def at_least(value: float) -> Promise:
    return Promise("at least", value)


def median_of(value: float) -> Promise:
    return Promise("median", value)


def share(
    setting: str,
    method: str,
    found: npt.ArrayLike,
    promise: Promise | None = None,
    *,
    ours: bool = True,
) -> Cell:
    """In how many of the runs."""
    each = np.asarray(found, dtype=np.bool_)
    part, runs = float(each.mean()), len(each)
    return Cell(setting, method, part, math.sqrt(part * (1 - part) / runs), runs, promise, ours)


def median(
    setting: str,
    method: str,
    values: npt.ArrayLike,
    promise: Promise | None = None,
    *,
    ours: bool = True,
) -> Cell:
    """Of all runs; those that never came to an end are infinite."""
    each = np.asarray(values, dtype=np.float64)
    runs = len(each)
    off = min(0.5, 0.5 / math.sqrt(runs))
    low, middle, high = np.quantile(each, [0.5 - off, 0.5, 0.5 + off], method="inverted_cdf")
    error = float(high - low) / 2 if math.isfinite(low) else math.inf
    return Cell(setting, method, float(middle), error, runs, promise, ours)


def mean(setting: str, method: str, values: npt.ArrayLike) -> Cell:
    """Of all runs; nothing is promised of it."""
    each = np.asarray(values, dtype=np.float64)
    error = float(each.std() / math.sqrt(len(each)))
    return Cell(setting, method, float(each.mean()), error, len(each))
