"""How many units an experiment needs: to be decided at any look, and at a single one at the end.

The always-valid size is that of simulated experiments, whose randomness is the caller's, looked at
fifty times by the time a fixed experiment would end. Sizes count the units of both arms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from gateway.errors import GatewayError
from gateway.statistics.effects import LEAST_UNITS
from gateway.statistics.rates import log_evidence
from gateway.statistics.sequences import PLANNED_UNITS, always_valid_p, tuning
from gateway.statistics.sums import Floats
from gateway.statistics.tails import normal_point

RUNS = 1_000
_LOOKS = 50
#: No experiment is simulated beyond this many times the fixed size.
_LONGEST = 40
#: Rate ratios nearer to 1 than this, by their logarithm, are too fine for the exact mixture.
SMALLEST_LOG_RATIO = 0.07
MOST_UNITS = 10**15
#: Beyond this a ratio is as good as infinite, and its square is still a number.
_HUGE = 1e100
Method = Literal["exact", "asymptotic"]

#: Experiments and looks to come, (runs, looks) of units so far → has each been decided there?
_Decided = Callable[[npt.NDArray[np.int64], int], npt.NDArray[np.bool_]]


class TooFine(GatewayError):
    """No experiment that anybody could run would see such a change."""


@dataclass(frozen=True, slots=True)
class Size:
    """Units of both arms together, in planned experiments in which the effect is there."""

    #: By a test at one fixed look, for the power asked for.
    fixed: int
    #: By the always-valid method: half of the experiments, and nine in ten, are decided by then.
    half: int
    most: int
    method: Method


def size_of_rates(
    baseline: float,
    candidate: float,
    rng: np.random.Generator,
    *,
    share: float = 0.5,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Size:
    """Of a binary event once a unit. Where most units have it, those without are counted."""
    rare = baseline + candidate <= 1
    a, b = (baseline, candidate) if rare else (1 - baseline, 1 - candidate)
    middle = a * (1 - share) + b * share
    null = math.sqrt(middle * (1 - middle) * (1 / share + 1 / (1 - share)))
    spread = math.sqrt(a * (1 - a) / (1 - share) + b * (1 - b) / share)
    fixed = _fixed(abs(b - a), null, spread, alpha, power)
    if abs(math.log(b / a)) < SMALLEST_LOG_RATIO:
        return _by_means((b - a) / spread, fixed, rng, share, alpha)
    step = max(1, math.ceil(fixed / _LOOKS))
    counts = np.zeros((RUNS, 2), dtype=np.int64)

    def evidence(running: npt.NDArray[np.int64], looks: int) -> npt.NDArray[np.bool_]:
        units = rng.binomial(step, share, size=(len(running), looks))
        x = counts[running, :1] + rng.binomial(units, b).cumsum(axis=1)
        y = counts[running, 1:] + rng.binomial(step - units, a).cumsum(axis=1)
        counts[running] = np.stack([x[:, -1], y[:, -1]], axis=1)
        log_e = log_evidence(x[..., None], (x + y)[..., None], [share])
        return np.asarray(log_e >= -math.log(alpha))

    half, most = _quantiles(evidence, step)
    return Size(fixed, half, most, "exact")


def size_of_means(
    difference: float,
    sd: float,
    rng: np.random.Generator,
    *,
    share: float = 0.5,
    alpha: float = 0.05,
    power: float = 0.8,
) -> Size:
    """Of a metric with one value a unit, whose standard deviation is `sd` in both arms."""
    spread = sd * math.sqrt(1 / share + 1 / (1 - share))
    fixed = _fixed(abs(difference), spread, spread, alpha, power)
    return _by_means(min(_HUGE, abs(difference) / spread), fixed, rng, share, alpha)


def _fixed(difference: float, null: float, spread: float, alpha: float, power: float) -> int:
    """Of a two-sided test. `null` and `spread` are errors of the difference times √units."""
    wanted = normal_point(alpha / 2) * null + max(0.0, -normal_point(power) * spread)
    units = (wanted / difference) ** 2 if wanted < _HUGE * difference else math.inf
    if units > MOST_UNITS:
        raise TooFine(f"takes more than {MOST_UNITS:,} units to be seen")
    return math.ceil(max(2.0, units))


def _by_means(
    difference: float, fixed: int, rng: np.random.Generator, share: float, alpha: float
) -> Size:
    """By the confidence sequence; what it sees of many units is as good as normal.

    `difference` is in errors of a difference times √units.
    """
    step = max(1, math.ceil(fixed / _LOOKS))
    rho2 = tuning(alpha, PLANNED_UNITS)
    walked: Floats = np.zeros(RUNS)
    looked = np.zeros(RUNS, dtype=np.int64)

    def evidence(running: npt.NDArray[np.int64], looks: int) -> npt.NDArray[np.bool_]:
        steps = rng.normal(difference * step, math.sqrt(step), size=(len(running), looks))
        path = walked[running, None] + steps.cumsum(axis=1)
        units = step * (looked[running, None] + np.arange(1, looks + 1))
        walked[running], looked[running] = path[:, -1], looked[running] + looks
        return np.asarray(always_valid_p(path / np.sqrt(units), units, rho2) <= alpha)

    half, most = _quantiles(evidence, step)
    # Nothing is said before either arm has so many.
    least = math.ceil(LEAST_UNITS / min(share, 1 - share))
    return Size(fixed, max(half, least), max(most, least), "asymptotic")


def _quantiles(decided: _Decided, step: int) -> tuple[int, int]:
    """Units by which half of the experiments are decided, and nine in ten."""
    ends = np.full(RUNS, _LONGEST * _LOOKS, dtype=np.int64)
    running = np.arange(RUNS)
    for block in range(_LONGEST):
        found = decided(running, _LOOKS)
        done = found.any(axis=1)
        ends[running[done]] = block * _LOOKS + found[done].argmax(axis=1) + 1
        running = running[~done]
        if len(running) <= RUNS // 20:
            break
    half, most = np.quantile(ends, [0.5, 0.9], method="inverted_cdf")
    return int(half) * step, int(most) * step
