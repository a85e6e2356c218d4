"""A canary of 5 % that fails more often than the baseline, and one that does not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.statistics.guardrail import ALPHA, log_harm
from loadtests.experiments import expected
from loadtests.experiments.expected import (
    CANARY_ERRORS,
    CANARY_REQUESTS,
    FLAGGER,
    FLAGGER_TEN,
    HALF_PERCENT,
    REQUESTS,
    ROLLED_BACK,
    TWO_PERCENT,
)
from loadtests.experiments.judges import firsts
from loadtests.experiments.records import (
    Bools,
    Cell,
    Ints,
    at_least,
    at_most,
    median,
    median_of,
    share,
)
from loadtests.experiments.streams import Floats

SHARE, WHOLE = 0.05, 60_000
#: Requests between two looks.
STEP = 20
BASES = {HALF_PERCENT: 0.005, TWO_PERCENT: 0.02}
RISKS = {
    "healthy": 1.0,
    "2 times as often": 2.0,
    "4 times as often": 4.0,
    "10 times as often": 10.0,
    "40 times as often": 40.0,
    "every request": math.inf,
}
#: A rule of fixed thresholds: requests of an interval, the success asked for, and failed checks
#: that roll back, which add up over the whole analysis (Flagger 15bd6ad).
INTERVAL, SUCCESS, FAILED = 1_000, 0.99, 5
_AT_ONCE = 250


@dataclass(frozen=True, slots=True)
class Canary:
    """Requests so far and errors so far, by look: (runs, looks)."""

    requests: Ints
    errors: Ints
    baseline_errors: Ints

    def log_e(self) -> Floats:
        both = self.errors + self.baseline_errors
        return log_harm(self.errors[..., None], both[..., None], [SHARE])

    def fixed_thresholds(self) -> Bools:
        """Whether it is rolled back, at each end of an interval."""
        ends = slice(INTERVAL // STEP - 1, None, INTERVAL // STEP)
        requests, errors = (
            np.diff(part[:, ends], axis=1, prepend=0) for part in (self.requests, self.errors)
        )
        failed = errors > (1 - SUCCESS) * requests + 1e-9
        return np.asarray(failed.cumsum(axis=1) >= FAILED)


def canary(rng: np.random.Generator, base: float, risk: float, runs: int, looks: int) -> Canary:
    """Each request is of a unit of its own."""
    requests = rng.binomial(STEP, SHARE, (runs, looks))
    errors = rng.binomial(requests, min(1.0, base * risk))
    of_baseline = rng.binomial(STEP - requests, base)
    return Canary(*(part.cumsum(axis=1) for part in (requests, errors, of_baseline)))


def canaries(runs: int, seed: int) -> Iterator[Cell]:
    """Rolled back or not, and how soon."""
    for number, (said, base) in enumerate(BASES.items()):
        for risk, times in RISKS.items():
            rng = np.random.default_rng([seed, 13, number, len(risk)])
            looks = (WHOLE if times <= 4 else WHOLE // 5) // STEP
            sizes = [min(_AT_ONCE, runs - at) for at in range(0, runs, _AT_ONCE)]
            endings = [Ending.of(canary(rng, base, times, size, looks)) for size in sizes]
            yield from _judged(f"{said}, {risk}", Ending.of_all(endings), healthy=times == 1)


@dataclass(frozen=True, slots=True)
class Ending:
    """When canaries were rolled back, infinite if never, and what they had by then: (runs,)."""

    requests: Floats
    of_canary: Floats
    errors: Floats
    by_thresholds: Floats

    @classmethod
    def of(cls, one: Canary) -> Ending:
        first = firsts(one.log_e() >= -math.log(ALPHA))
        fixed = firsts(one.fixed_thresholds())
        run = np.arange(len(first))
        return cls(
            _unless_never(first, (first + 1.0) * STEP),
            _unless_never(first, one.requests[run, first]),
            _unless_never(first, one.errors[run, first]),
            _unless_never(fixed, (fixed + 1.0) * INTERVAL),
        )

    @classmethod
    def of_all(cls, pieces: Sequence[Ending]) -> Ending:
        names = ("requests", "of_canary", "errors", "by_thresholds")
        return cls(*(np.concatenate([getattr(one, name) for one in pieces]) for name in names))


def _unless_never(first: Ints, value: npt.NDArray[Any]) -> Floats:
    return np.where(first >= 0, value, np.inf)


def _judged(setting: str, end: Ending, healthy: bool) -> Iterator[Cell]:
    rolled_back = np.isfinite(end.requests)
    if healthy:
        yield share(setting, ROLLED_BACK, rolled_back, at_most(ALPHA))
        for method, by in ((FLAGGER, math.inf), (FLAGGER_TEN, 10 * INTERVAL + 1)):
            yield share(setting, method, end.by_thresholds < by, at_most(ALPHA), ours=False)
        return
    least = expected.CANARIES.get((setting, ROLLED_BACK), 0.99)
    yield share(setting, ROLLED_BACK, rolled_back, at_least(min(0.99, least)))
    if least < 0.9:
        return
    columns = {REQUESTS: end.requests, CANARY_REQUESTS: end.of_canary, CANARY_ERRORS: end.errors}
    for method, each in columns.items():
        figure = expected.CANARIES.get((setting, method))
        yield median(setting, method, each, None if figure is None else median_of(figure))
    yield median(setting, f"{FLAGGER}, {REQUESTS}", end.by_thresholds, ours=False)
