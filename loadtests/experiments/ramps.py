"""Weights that change while the rate moves for everyone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from loadtests.experiments import expected
from loadtests.experiments.expected import CLOSED, LIFTED, ONE_STEP, POOLED, RAMP, UNITS, A, B
from loadtests.experiments.judges import by_closed_form, by_evidence, by_sequence
from loadtests.experiments.records import Cell, at_least, at_most, median, median_of, share
from loadtests.experiments.streams import Stream, events

LIFT = 0.15
STEPS, BASES = (0.01, 0.05, 0.1, 0.25, 0.5), (0.10, 0.12, 0.09, 0.11, 0.13)
LOOKS = (15, 15, 15, 15, 80)
PROMISE = at_most(0.05)


def ramp(rng: np.random.Generator, runs: int, lift: float) -> Stream:
    """Four steps of 7,500 units, and 40,000 at the last."""
    rates = [(base, base * (1 + lift)) for base in BASES]
    return events(rng, runs, LOOKS, 500, STEPS, rates)


def ramps(runs: int, seed: int) -> Iterator[Cell]:
    """Without an effect, and with one."""
    few = max(10, runs // 2)
    rng = np.random.default_rng([seed, 8])
    step = events(rng, few, [50, 50], 400, [0.05, 0.5], [(0.10, 0.10), (0.13, 0.13)])
    for setting, stream in ((ONE_STEP, step), (RAMP, ramp(rng, few, 0))):
        pooled = by_sequence(stream.pooled())
        yield share(setting, POOLED, pooled >= 0, PROMISE, ours=False)
        yield share(setting, A, by_sequence(stream) >= 0, PROMISE)
        yield share(setting, CLOSED, by_closed_form(stream) >= 0, PROMISE)
        yield share(setting, B, by_evidence(stream) >= 0, PROMISE)
    stream = ramp(rng, few, LIFT)
    each = {A: by_sequence(stream), CLOSED: by_closed_form(stream), B: by_evidence(stream)}
    for method, first in each.items():
        part, units = f"{method}, found", f"{method}, {UNITS}"
        yield share(LIFTED, part, first >= 0, at_least(min(0.99, expected.RAMPS[LIFTED, part])))
        yield median(LIFTED, units, stream.at(first), median_of(expected.RAMPS[LIFTED, units]))
    missed = by_evidence(stream, math.log1p(LIFT)) >= 0
    yield share(LIFTED, f"{B}, interval misses it", missed, PROMISE)
