"""A canary on a stream of requests, looked at after each error: ejected in time, or left alone.

Medians are held to STATISTICS §4's table by the bounds that so many simulated canaries leave to
them; beside the guardrail, methods that fail the same bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from gateway.statistics.guardrail import ALPHA, Harm, harm, log_harm
from gateway.statistics.sums import EventCounts

SHARE, WHOLE = 0.05, 60_000
#: A rule of fixed thresholds, after Flagger 15bd6ad: the success that is asked of the canary in an
#: interval of requests; checks that fail add up, and so many of them roll back.
INTERVAL, SUCCESS, FAILED = 1_000, 0.99, 5


@dataclass(frozen=True)
class Requests:
    """In their order: the unit, whether it is the canary's, whether it failed, and the epoch."""

    unit: npt.NDArray[np.int64]
    canary: npt.NDArray[np.bool_]
    failed: npt.NDArray[np.bool_]
    epoch: npt.NDArray[np.int64]
    shares: tuple[float, ...] = (SHARE,)


@dataclass(frozen=True)
class Ejected:
    """After how many requests, those of the canary, and its errors."""

    requests: int
    of_canary: int
    errors: int


Judge = Callable[[Requests], Ejected | None]


def guardrail(came: Requests, *, each_once: bool = True) -> Ejected | None:
    """The gateway's: units that have failed, by epoch, at each of them."""
    at = np.flatnonzero(came.failed)
    if each_once:
        at = at[np.sort(np.unique(came.unit[at], return_index=True)[1])]
    of_epoch = came.epoch[at][:, None] == np.arange(len(came.shares))
    both = of_epoch.cumsum(axis=0)
    of_canary = (of_epoch & came.canary[at][:, None]).cumsum(axis=0)
    breached = log_harm(of_canary, both, came.shares) >= -math.log(ALPHA)
    if not breached.any():
        return None
    first = int(breached.argmax())
    last = int(at[first])
    found = harm(
        [
            EventCounts(int(x), int(t - x), w)
            for x, t, w in zip(of_canary[first], both[first], came.shares, strict=True)
        ]
    )
    assert isinstance(found, Harm)
    assert found.breaches()
    return Ejected(last + 1, int(came.canary[: last + 1].sum()), found.candidate)


def every_error(came: Requests) -> Ejected | None:
    return guardrail(came, each_once=False)


def fixed_thresholds(came: Requests) -> Ejected | None:
    failed = 0
    for end in range(INTERVAL, len(came.unit) + 1, INTERVAL):
        these = slice(end - INTERVAL, end)
        errors = int((came.canary & came.failed)[these].sum())
        failed += errors > (1 - SUCCESS) * int(came.canary[these].sum())
        if failed == FAILED:
            return Ejected(end, int(came.canary[:end].sum()), errors)
    return None


def independent(
    rng: np.random.Generator, base: float, risk: float, number: int, shares: tuple[float, ...]
) -> Requests:
    """Each of another unit; the epochs are equally long."""
    epoch = np.arange(number) * len(shares) // number
    canary = rng.random(number) < np.array(shares)[epoch]
    failed = rng.random(number) < np.where(canary, min(1.0, base * risk), base)
    return Requests(np.arange(number), canary, failed, epoch, shares)


def canaries(
    base: float, risk: float, runs: int, number: int, shares: tuple[float, ...] = (SHARE,)
) -> list[Requests]:
    rng = np.random.default_rng([runs, round(base * 1_000), round(min(risk, 1e4))])
    return [independent(rng, base, risk, number, shares) for _ in range(runs)]


def retrying(runs: int) -> list[Requests]:
    """6,000 users of some ten requests each, of whom 2 % always fail, in both arms alike."""
    rng = np.random.default_rng(17)
    found = []
    for _ in range(runs):
        unit = rng.permutation(np.repeat(np.arange(6_000), rng.geometric(0.1, 6_000)))
        canary, broken = rng.random(6_000) < SHARE, rng.random(6_000) < 0.02
        none = np.zeros(len(unit), dtype=np.int64)
        found.append(Requests(unit, canary[unit], broken[unit], none))
    return found


def rolled_back(judge: Judge, came: list[Requests]) -> float:
    return float(np.mean([judge(one) is not None for one in came]))


def bound(runs: int) -> float:
    return ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


def median_within(values: list[int]) -> tuple[int, int]:
    """Where the median of all such canaries lies, but in one of 370 simulations."""
    ordered, runs = sorted(values), len(values)
    low = int(binom.ppf(0.00135, runs, 0.5)) - 1
    return ordered[max(0, low)], ordered[min(runs - 1, runs - 1 - low)]


@pytest.mark.parametrize(
    ("base", "risk", "requests", "of_canary", "errors"),
    [
        (0.005, 4, 9_120, 450, 10),
        (0.005, 10, 1_700, 85, 5),
        (0.005, 40, 320, 16, 3),
        (0.005, math.inf, 60, 3, 3),
        (0.02, 2, 15_840, None, None),
        (0.02, 4, 2_240, None, None),
        (0.02, 10, 460, None, None),
    ],
)
def test_a_failing_canary_is_ejected_within_the_requests_of_the_table(
    base: float, risk: float, requests: int, of_canary: int | None, errors: int | None
) -> None:
    """By half of them; nearly all are within six times as many. The table was made with looks at
    each 20 requests."""
    ends = [guardrail(one) for one in canaries(base, risk, 200, 6 * requests + 200)]
    caught = [one for one in ends if one is not None]
    assert len(caught) >= 0.98 * len(ends)
    for promised, name in ((requests, "requests"), (of_canary, "of_canary"), (errors, "errors")):
        low, high = median_within([getattr(one, name) for one in caught])
        if promised is not None:
            assert low <= max(1.1 * promised, promised + 1)
            assert high >= 0.8 * promised - (20 if name == "requests" else 0)


def test_a_total_outage_is_over_before_fixed_thresholds_look_once() -> None:
    outages = canaries(0.005, math.inf, 100, 6_000)
    ours, theirs = ([judge(one) for one in outages] for judge in (guardrail, fixed_thresholds))
    assert max(one.requests for one in ours if one) < INTERVAL
    assert {one.requests for one in theirs if one} == {FAILED * INTERVAL}
    assert None not in (*ours, *theirs)


@pytest.mark.parametrize(("base", "runs"), [(0.005, 1_500), (0.02, 800)])
def test_a_healthy_canary_is_left_alone_over_sixty_thousand_requests(
    base: float, runs: int
) -> None:
    healthy = canaries(base, 1, runs, WHOLE)
    assert rolled_back(guardrail, healthy) <= bound(len(healthy))
    assert rolled_back(fixed_thresholds, healthy[:200]) > 0.98


def test_evidence_is_carried_over_the_steps_of_a_ramp() -> None:
    """A healthy one has as many steps to be ejected at, and is not; a failing one has no fresh
    start at any of them."""
    steps = (0.01, 0.05, 0.10, 0.25, 0.50)
    healthy = canaries(0.005, 1, 150, 30_000, steps)
    assert rolled_back(guardrail, healthy) <= bound(len(healthy))
    failing = canaries(0.005, 3, 150, 30_000, steps)
    assert rolled_back(guardrail, failing) >= 0.98

    def forgetful(came: Requests) -> Ejected | None:
        """Each step by itself."""
        for k, share in enumerate(came.shares):
            of = came.epoch == k
            none = np.zeros(int(of.sum()), dtype=np.int64)
            step = Requests(came.unit[of], came.canary[of], came.failed[of], none, (share,))
            if (end := guardrail(step)) is not None:
                return Ejected(int(np.flatnonzero(of)[0]) + end.requests, 0, end.errors)
        return None

    late, soon = (
        np.median([end.requests if (end := judge(one)) else math.inf for one in failing])
        for judge in (forgetful, guardrail)
    )
    assert soon < late


def test_a_healthy_canary_is_left_alone_though_users_try_again() -> None:
    """Every error counted, instead of each unit once, fails the same bound."""
    healthy = retrying(150)
    assert rolled_back(guardrail, healthy) <= bound(len(healthy))
    assert rolled_back(every_error, healthy) > bound(len(healthy)) + 0.05
