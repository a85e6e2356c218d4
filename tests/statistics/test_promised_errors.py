"""Error rates as promised, simulated, each beside a usual method that fails the same bound.

Arrays are (runs, looks, epochs) of what has come in up to a look. `means` is the arithmetic of
`effects` for all of them at once, and is held to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chi2

from gateway.names import BUCKETS
from gateway.statistics.effects import LEAST_EVENTS, LEAST_UNITS, Effect, effect
from gateway.statistics.guardrail import log_harm
from gateway.statistics.rates import log_dirichlet, log_evidence
from gateway.statistics.sequences import always_valid_p, half_width, tuning
from gateway.statistics.sums import BucketSums, Floats, Sides, UnitSums

Ints = npt.NDArray[np.int64]
ALPHA = 0.05
#: ln of the e-value that rejects.
REJECTS = -math.log(ALPHA)


def bound(runs: int, alpha: float = ALPHA) -> float:
    return alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


def ever(found: npt.NDArray[np.bool_]) -> float:
    """The share of runs in which a look found something."""
    return float(found.any(axis=1).mean())


@dataclass(frozen=True)
class Runs:
    """Units and events so far of both arms, (runs, looks, epochs), and the candidate's shares."""

    n_a: Ints
    x_a: Ints
    n_b: Ints
    x_b: Ints
    shares: Floats

    def pooled(self) -> Runs:
        """As if there were one epoch."""
        n_a, x_a, n_b, x_b = (
            part.sum(axis=2, keepdims=True) for part in (self.n_a, self.x_a, self.n_b, self.x_b)
        )
        return Runs(n_a, x_a, n_b, x_b, np.array([0.5]))

    def units(self) -> Ints:
        return np.asarray((self.n_a + self.n_b).sum(axis=2))

    def means(self) -> tuple[Floats, Floats]:
        """Differences over epochs and their errors, (runs, looks); nan without a spread."""
        n_a, n_b = (np.maximum(n, 2).astype(np.float64) for n in (self.n_a, self.n_b))
        told = (self.n_a >= 2) & (self.n_b >= 2)
        weights = np.where(told, n_a * n_b / (n_a + n_b), 0.0)
        with np.errstate(invalid="ignore"):
            weights /= weights.sum(axis=2, keepdims=True)
        p_a, p_b = self.x_a / n_a, self.x_b / n_b
        spread = p_a * (1 - p_a) / (n_a - 1) + p_b * (1 - p_b) / (n_b - 1)
        error = np.sqrt((weights**2 * spread).sum(axis=2))
        return (weights * (p_b - p_a)).sum(axis=2), np.where(error > 0, error, np.nan)

    def enough(self) -> npt.NDArray[np.bool_]:
        held = np.ones(self.n_a.shape[:2], dtype=np.bool_)
        for n, x in ((self.n_a, self.x_a), (self.n_b, self.x_b)):
            units, events = n.sum(axis=2), x.sum(axis=2)
            held &= (units >= LEAST_UNITS) & (np.minimum(events, units - events) >= LEAST_EVENTS)
        return held

    def p(self) -> Floats:
        """Always-valid, without the least units and events; 1 where there is no spread."""
        difference, error = self.means()
        z = np.nan_to_num(difference / error)
        return always_valid_p(z, self.units(), tuning())

    def log_e(self, log_ratio: float = 0.0) -> Floats:
        both = self.x_a + self.x_b
        return np.concatenate(
            [
                log_evidence(x, t, self.shares, log_ratio)
                for x, t in zip(np.array_split(self.x_b, 20), np.array_split(both, 20), strict=True)
            ]
        )


def simulated(
    rng: np.random.Generator,
    runs: int,
    looks: int,
    units: int,
    shares: list[float],
    rates: list[tuple[float, float]],
) -> Runs:
    """`units` come between two looks; epochs follow on one another, with as many looks each."""
    parts = []
    for k, (share, (a, b)) in enumerate(zip(shares, rates, strict=True)):
        n_b = rng.binomial(units, share, (runs, looks))
        x_a, x_b = rng.binomial(units - n_b, a), rng.binomial(n_b, b)
        so_far = [part.cumsum(axis=1) for part in (units - n_b, x_a, n_b, x_b)]
        before, after = k * looks, (len(shares) - k - 1) * looks
        parts.append(
            [
                np.concatenate(
                    [
                        np.zeros((runs, before), dtype=np.int64),
                        part,
                        part[:, -1:].repeat(after, axis=1),
                    ],
                    axis=1,
                )
                for part in so_far
            ]
        )
    n_a, x_a, n_b, x_b = (np.stack(each, axis=2) for each in zip(*parts, strict=True))
    return Runs(n_a, x_a, n_b, x_b, np.array(shares))


STEPS, BASES = [0.01, 0.05, 0.1, 0.25, 0.5], [0.10, 0.12, 0.09, 0.11, 0.13]


def ramp(lift: float, runs: int = 1_000) -> Runs:
    """An ordinary one, while the rate moves for everyone: 100,000 units, 200 looks."""
    rates = [(base, base * (1 + lift)) for base in BASES]
    return simulated(np.random.default_rng(50), runs, 40, 500, STEPS, rates)


def test_the_arithmetic_here_is_that_of_effects() -> None:
    runs = ramp(0.15, 8)
    difference, error = runs.means()
    p, enough = runs.p(), runs.enough()
    for run, look in np.random.default_rng(1).integers([8, 200], size=(150, 2)):
        at = [part[run, look].tolist() for part in (runs.n_a, runs.x_a, runs.n_b, runs.x_b)]
        found = effect(
            [
                Sides(UnitSums.of_events(n_a, x_a), UnitSums.of_events(n_b, x_b))
                for n_a, x_a, n_b, x_b in zip(*at, strict=True)
            ],
            "binary",
        )
        assert isinstance(found, Effect) == enough[run, look]
        if isinstance(found, Effect):
            assert found.difference.estimate == pytest.approx(difference[run, look])
            assert found.error == pytest.approx(error[run, look])
            assert found.p == pytest.approx(p[run, look], rel=1e-6)


@pytest.mark.parametrize(("share", "rate"), [(0.5, 0.1), (0.05, 0.1), (0.05, 0.005)])
def test_looking_two_hundred_times_finds_no_effect_where_there_is_none(
    share: float, rate: float
) -> None:
    rng = np.random.default_rng([int(share * 100), int(rate * 1000)])
    runs = simulated(rng, 2_000, 200, 100, [share], [(rate, rate)])
    assert ever((runs.p() <= ALPHA) & runs.enough()) <= bound(2_000)
    assert ever(runs.log_e() >= REJECTS) <= bound(2_000)
    difference, error = runs.means()
    assert ever(np.abs(difference / error) > 1.96) > 0.25
    if rate == 0.005:  # what the least events are for
        assert ever(runs.p() <= ALPHA) > 0.3


def test_intervals_hold_the_truth_at_every_look() -> None:
    runs = simulated(np.random.default_rng(7), 2_000, 200, 100, [0.5], [(0.1, 0.12)])
    difference, error = runs.means()
    off, enough = np.abs(difference - 0.02), runs.enough()
    assert ever((off > half_width(error, runs.units(), tuning())) & enough) <= bound(2_000)
    assert ever((off > 1.96 * error) & enough) > 0.19
    assert ever(runs.log_e(math.log(1.2)) >= REJECTS) <= bound(2_000)


def test_a_ramp_is_no_effect() -> None:
    runs = ramp(0)
    assert ever((runs.p() <= ALPHA) & runs.enough()) <= 0.065
    assert ever(runs.log_e() >= REJECTS) <= 0.065
    pooled = runs.pooled()
    assert ever((pooled.p() <= ALPHA) & pooled.enough()) > 0.8


def test_an_effect_shows_over_a_ramp() -> None:
    runs = ramp(0.15)
    assert ever((runs.p() <= ALPHA) & runs.enough()) >= 0.97
    assert ever(runs.log_e() >= REJECTS) >= 0.97
    assert ever(runs.log_e(math.log(1.15)) >= REJECTS) <= 0.065


def test_an_effect_is_found_in_time() -> None:
    runs = simulated(np.random.default_rng(3), 500, 200, 200, [0.5], [(0.1, 0.12)])
    decided = (runs.p() <= ALPHA) & runs.enough(), runs.log_e() >= REJECTS
    for found, median in zip(decided, (7_600, 10_000), strict=True):
        assert ever(found) >= 0.95
        first = np.where(found.any(axis=1), found.argmax(axis=1) + 1, 201) * 200
        assert np.median(first) == pytest.approx(median, rel=0.2)


def clustered_run(rng: np.random.Generator, looks: int = 60) -> tuple[float, float]:
    """3,000 users of some ten requests each, in any order, no effect: the least p of each unit."""
    requests = rng.geometric(0.1, 3_000)
    arm, rate = rng.integers(2, size=3_000), rng.beta(0.6, 1.4, 3_000)
    user = rng.permutation(np.repeat(np.arange(3_000), requests))
    outcome = (rng.random(len(user)) < rate[user]).astype(np.float64)
    look = np.arange(len(user)) * looks // len(user)
    first = np.zeros(len(user), dtype=np.bool_)
    first[np.unique(user, return_index=True)[1]] = True
    place = (look * 2 + arm[user]) * BUCKETS + user % BUCKETS
    values, counts, units = (
        np.bincount(place, weights, looks * 2 * BUCKETS).reshape(looks, 2, BUCKETS).cumsum(axis=0)
        for weights in (outcome, None, first.astype(np.float64))
    )
    by_bucket = 1.0
    for k in range(looks):
        sums = [BucketSums(int(units[k, b].sum()), values[k, b], counts[k, b]) for b in (0, 1)]
        found = effect([Sides(*sums)], "ratio")
        if isinstance(found, Effect):
            by_bucket = min(by_bucket, found.p)
    n, x = counts.sum(axis=2)[None, :, :, None], values.sum(axis=2)[None, :, :, None]
    rows = Runs(n[:, :, 0], x[:, :, 0], n[:, :, 1], x[:, :, 1], np.array([0.5]))
    return by_bucket, float(rows.p()[rows.enough()].min())


def test_requests_of_one_user_are_not_independent() -> None:
    rng = np.random.default_rng(11)
    by_bucket, by_request = zip(*[clustered_run(rng) for _ in range(200)], strict=True)
    assert np.mean(np.array(by_bucket) <= ALPHA) <= 0.10
    assert np.mean(np.array(by_request) <= ALPHA) > 0.3


def returning_run(rng: np.random.Generator, epochs: int = 12) -> tuple[float, float]:
    """The same 2,000 users, ten requests each in every epoch, no effect: p after the last."""
    arm, rate = rng.integers(2, size=2_000), rng.beta(0.6, 1.4, 2_000)
    place = arm * BUCKETS + np.arange(2_000) % BUCKETS
    counts = np.bincount(place, minlength=2 * BUCKETS).reshape(2, BUCKETS) * 10.0
    sides = []
    for _ in range(epochs):
        values = np.bincount(place, rng.binomial(10, rate), 2 * BUCKETS).reshape(2, BUCKETS)
        arms = [BucketSums(int((arm == b).sum()), values[b], counts[b]) for b in (0, 1)]
        sides.append(Sides(*arms))
    found, each = effect(sides, "ratio"), [effect([one], "ratio") for one in sides]
    assert isinstance(found, Effect)
    variances = [one.error**2 for one in each if isinstance(one, Effect)]
    assert len(variances) == epochs
    error = math.sqrt(sum(variances)) / epochs
    z = found.difference.estimate / error
    return found.p, float(always_valid_p(z, found.units, tuning()))


def test_users_who_return_in_later_epochs_are_not_new_ones() -> None:
    """Epochs as if they were independent, which the sum of their variances takes for granted."""
    rng = np.random.default_rng(12)
    ours, summed = zip(*[returning_run(rng) for _ in range(250)], strict=True)
    assert np.mean(np.array(ours) <= ALPHA) <= 0.10
    assert np.mean(np.array(summed) <= ALPHA) > 0.25


def canary(risk: float, runs: int, looks: int) -> Floats:
    """ln E of harm every 20 requests of a canary of 5 %, where 0.5 % fail: (runs, looks)."""
    rng = np.random.default_rng([int(risk), runs])
    n_b = rng.binomial(20, 0.05, (runs, looks))
    x_b = rng.binomial(n_b, min(1.0, 0.005 * risk)).cumsum(axis=1)
    x_a = rng.binomial(20 - n_b, 0.005).cumsum(axis=1)
    return log_harm(x_b[..., None], (x_a + x_b)[..., None], [0.05])


def test_a_healthy_canary_stays_over_sixty_thousand_requests() -> None:
    log_e = canary(1, 700, 3_000)
    assert ever(log_e >= -math.log(0.01)) <= 0.02


@pytest.mark.parametrize(
    ("risk", "median", "within"),
    [(4, 9_120, 60_000), (10, 1_700, 20_000), (40, 320, 4_000), (200, 60, 1_000)],
)
def test_a_failing_canary_is_caught(risk: float, median: int, within: int) -> None:
    """A total outage, the last one, after three of its own requests."""
    found = canary(risk, 400, within // 20) >= -math.log(0.01)
    assert ever(found) >= 0.99
    requests = (np.where(found.any(axis=1), found.argmax(axis=1), within) + 1) * 20
    assert np.median(requests) == pytest.approx(median, rel=0.2, abs=20)


def test_a_user_who_retries_fails_once() -> None:
    """120 users who fail again and again, some eight times, of both arms alike."""
    rng = np.random.default_rng(13)
    arm = rng.random((2_000, 120)) < 0.05
    times = rng.geometric(1 / 8, (2_000, 120))
    alarms = [
        ever(log_harm((arm * n).cumsum(1)[..., None], n.cumsum(1)[..., None], [0.05]) >= 4.605)
        for n in (np.ones_like(times), times)
    ]
    assert alarms[0] <= bound(2_000, 0.01)
    assert alarms[1] > 0.1


def split(share: float, runs: int, looks: int, units: int) -> Floats:
    """Units by arm so far, of a split that was to give the candidate a tenth: (runs, looks, 2)."""
    n_b = np.random.default_rng(14).binomial(units, share, (runs, looks)).cumsum(axis=1)
    total = units * np.arange(1, looks + 1)
    return np.stack([total - n_b, n_b], axis=2).astype(np.float64)


def test_the_sample_ratio_may_be_looked_at_as_often_as_one_likes() -> None:
    right = split(0.1, 2_000, 200, 500)
    e = log_dirichlet(right, [0.9, 0.1], 1_000)
    assert ever(e >= math.log(100)) <= bound(2_000, 0.01)
    expected = right.sum(axis=2, keepdims=True) * [0.9, 0.1]
    classical = chi2.sf(((right - expected) ** 2 / expected).sum(axis=2), 1)
    assert ever(classical < 0.05) > 0.25
    assert ever(classical < 0.01) > bound(2_000, 0.01)


def test_a_broken_split_is_seen() -> None:
    found = log_dirichlet(split(0.11, 500, 200, 500), [0.9, 0.1], 1_000) >= math.log(100)
    assert ever(found) == 1
    assert np.median(found.argmax(axis=1) + 1) * 500 == pytest.approx(11_000, rel=0.2)
