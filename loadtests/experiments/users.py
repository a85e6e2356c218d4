"""Users who come again: ten requests each, or eight errors."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gateway.names import BUCKETS
from gateway.statistics.effects import Effect, effect
from gateway.statistics.guardrail import ALPHA, log_harm
from gateway.statistics.sequences import CannotSay
from gateway.statistics.sums import BucketSums, Sides
from loadtests.experiments.expected import (
    BY_BUCKET,
    BY_REQUEST,
    EACH_ONCE,
    EVERY_ERROR,
    ONCE,
    PEEKING,
    RETRYING,
    A,
)
from loadtests.experiments.judges import PLANNED, by_sequence, by_z
from loadtests.experiments.records import Cell, at_most, share
from loadtests.experiments.streams import Arm, Floats, Stream

USERS, LOOKS = 3_000, 60
PROMISE = at_most(0.05)


def returning(runs: int, seed: int) -> Iterator[Cell]:
    """3,000 users without an effect: by request as if each were a user, and by bucket."""
    rng = np.random.default_rng([seed, 9])
    few = max(10, runs // 2)
    found: dict[tuple[str, str], list[bool]] = {}
    for _ in range(few):
        units, values, counts = _one(rng)
        stream = _requests(values, counts)
        _note(found, BY_REQUEST, ONCE, bool(by_z(stream, once=True)[0] >= 0))
        _note(found, BY_REQUEST, PEEKING, bool(by_z(stream)[0] >= 0))
        _note(found, BY_REQUEST, A, bool(by_sequence(stream)[0] >= 0))
        effects = [_by_bucket(units[k], values[k], counts[k]) for k in range(LOOKS)]
        seen = [one for one in effects if isinstance(one, Effect)]
        z = [abs(one.difference.estimate) > 1.96 * one.error for one in seen]
        _note(found, BY_BUCKET, ONCE, z[-1])
        _note(found, BY_BUCKET, PEEKING, any(z))
        _note(found, BY_BUCKET, A, any(one.p <= 0.05 for one in seen))
    for (setting, method), each in found.items():
        yield share(setting, method, each, PROMISE, ours=(setting, method) == (BY_BUCKET, A))


def retrying(runs: int, seed: int) -> Iterator[Cell]:
    """A canary of 5 %."""
    rng = np.random.default_rng([seed, 10])
    found = np.array([_retried(rng) for _ in range(runs)])
    for k, method in enumerate((EACH_ONCE, EVERY_ERROR)):
        yield share(RETRYING, method, found[:, k], at_most(ALPHA), ours=method == EACH_ONCE)


def _retried(rng: np.random.Generator) -> list[bool]:
    """120 of 6,000 users fail some eight times: is that harm, each counted once, or every time?"""
    canary = rng.random(120) < 0.05
    user = rng.permutation(np.repeat(np.arange(120), rng.geometric(1 / 8, 120)))
    first = np.zeros(len(user))
    first[np.unique(user, return_index=True)[1]] = 1.0
    found = []
    for counted in (first, np.ones(len(user))):
        of_canary = (counted * canary[user]).cumsum()
        log_e = log_harm(of_canary[:, None], counted.cumsum()[:, None], [0.05])
        found.append(bool((log_e >= -math.log(ALPHA)).any()))
    return found


def _note(found: dict[tuple[str, str], list[bool]], setting: str, method: str, it: bool) -> None:
    found.setdefault((setting, method), []).append(it)


def _one(rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """By look, arm and bucket: units, events and requests so far."""
    requests = rng.geometric(0.1, USERS)
    arm, rate = rng.integers(2, size=USERS), rng.beta(0.6, 1.4, USERS)
    # They come one after another, and again for some time.
    user = np.repeat(np.arange(USERS), requests)
    at = rng.random(USERS)[user] + rng.exponential(0.2, len(user))
    user = user[np.argsort(at)]
    outcome = (rng.random(len(user)) < rate[user]).astype(np.float64)
    look = np.arange(len(user)) * LOOKS // len(user)
    first = np.zeros(len(user))
    first[np.unique(user, return_index=True)[1]] = 1.0
    place = (look * 2 + arm[user]) * BUCKETS + user % BUCKETS
    shape = (LOOKS, 2, BUCKETS)
    units, values, counts = (
        np.bincount(place, weights, math.prod(shape)).reshape(shape).cumsum(axis=0)
        for weights in (first, outcome, None)
    )
    return units, values, counts


def _requests(values: Floats, counts: Floats) -> Stream:
    n, x = (part.sum(axis=2).astype(np.int64)[None, :, :, None] for part in (counts, values))
    a, b = (Arm.of_events(n[:, :, k], x[:, :, k]) for k in (0, 1))
    return Stream(a, b, np.array([0.5]), 1)


def _by_bucket(units: Floats, values: Floats, counts: Floats) -> Effect | CannotSay:
    arms = (BucketSums(int(units[k].sum()), values[k], counts[k]) for k in (0, 1))
    return effect([Sides(*arms)], "ratio", planned_units=PLANNED)
