"""Weights that follow the outcomes, in batches, where both arms are the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from gateway.statistics.rates import log_evidence
from gateway.statistics.sequences import ALPHA
from loadtests.experiments.expected import FLOORS, ONCE, PEEKING, POOLED, B
from loadtests.experiments.judges import by_sequence, by_z, firsts
from loadtests.experiments.records import Bools, Cell, Ints, at_most, mean, share
from loadtests.experiments.streams import Arm, Floats, Stream

#: The candidate's share of the next batch: of units and events so far of baseline and candidate,
#: (runs, 2) each.
Weights = Callable[[Ints, Ints, np.random.Generator], Floats]

BATCHES, BATCH, RATE = 40, 500, 0.1
_DRAWS = 200


def thompson(floor: float) -> Weights:
    """As likely as an arm is the best one, of what Beta(1, 1) becomes, and `floor` at least."""

    def weights(units: Ints, events: Ints, rng: np.random.Generator) -> Floats:
        shape = (_DRAWS, len(units))
        a, b = (rng.beta(1 + events[:, k], 1 + units[:, k] - events[:, k], shape) for k in (0, 1))
        return floor + (1 - 2 * floor) * np.asarray((b > a).mean(axis=0))

    return weights


def batches(
    rng: np.random.Generator, runs: int, weights: Weights, rates: tuple[float, float]
) -> tuple[Floats, Ints, Ints]:
    """Shares by batch, (runs, batches), and units and events of each, (runs, batches, 2)."""
    shares = np.full((runs, BATCHES), 0.5)
    units, events = (np.zeros((runs, BATCHES, 2), dtype=np.int64) for _ in range(2))
    for k in range(BATCHES):
        if k:
            shares[:, k] = weights(units[:, :k].sum(axis=1), events[:, :k].sum(axis=1), rng)
        units[:, k, 1] = rng.binomial(BATCH, shares[:, k])
        units[:, k, 0] = BATCH - units[:, k, 1]
        events[:, k] = rng.binomial(units[:, k], rates)
    return shares, units, events


def decided(shares: Floats, events: Ints) -> Bools:
    """By (B), each batch an epoch: (runs, looks)."""
    so_far = np.tril(np.ones((shares.shape[1],) * 2))
    log_e = [
        log_evidence(so_far * x[:, 1], so_far * x.sum(axis=1), part)
        for part, x in zip(shares, events, strict=True)
    ]
    return np.asarray(np.stack(log_e) >= -math.log(ALPHA))


def bandits(runs: int, seed: int) -> Iterator[Cell]:
    """Ours is (B) alone: the others are reported to nobody while weights adapt."""
    for floor, setting in FLOORS.items():
        rng = np.random.default_rng([seed, 14, round(100 * floor)])
        shares, units, events = batches(rng, runs, thompson(floor), (RATE, RATE))
        n, x = (part.cumsum(axis=1)[..., None] for part in (units, events))
        a, b = (Arm.of_events(n[:, :, k], x[:, :, k]) for k in (0, 1))
        pooled = Stream(a, b, np.array([0.5]), BATCH)
        for method, first in (
            (ONCE, by_z(pooled, once=True)),
            (PEEKING, by_z(pooled)),
            (POOLED, by_sequence(pooled)),
        ):
            yield share(setting, method, first >= 0, at_most(ALPHA), ours=False)
        yield share(setting, B, firsts(decided(shares, events)) >= 0, at_most(ALPHA))
        in_all, happened = units.sum(axis=1), events.sum(axis=1)
        less = in_all.argmin(axis=1)
        run = np.arange(runs)
        bias = happened[run, less] / in_all[run, less] - RATE
        yield mean(setting, "bias of the arm that got less", bias)
