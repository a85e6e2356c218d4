"""A shadow beside the baseline: one label says of both whether they were right."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gateway.statistics.sequences import ALPHA, PLANNED_UNITS, always_valid_p, tuning
from loadtests.experiments.expected import (
    LABELS,
    NONE_BETTER,
    ONE_BETTER,
    PAIRED,
    PAIRED_Z,
    UNPAIRED,
    UNPAIRED_Z,
)
from loadtests.experiments.judges import by_sequence, by_z, firsts
from loadtests.experiments.records import Cell, Ints, at_most, median, share
from loadtests.experiments.streams import Floats, events

LOOKS = 200


def pairs(runs: int, seed: int) -> Iterator[Cell]:
    """Labels until it is seen that one branch is right on 91 % of the rows, the other on 90 %."""
    rng = np.random.default_rng([seed, 15])
    z, n = _paired(rng, runs, 100, 0.025, 0.025)
    yield share(NONE_BETTER, PAIRED, _decided(z, n) >= 0, at_most(ALPHA))
    naive = (np.abs(z) > 1.96).any(axis=1)
    yield share(NONE_BETTER, "z-test, paired, at every look", naive, at_most(ALPHA), ours=False)
    few = max(10, runs // 2)
    z, _ = _paired(rng, few, 3_912, 0.03, 0.02, looks=1)
    yield share(ONE_BETTER, PAIRED_Z, np.abs(z[:, 0]) > 1.96, ours=False)
    stream = events(rng, few, [1], 26_952, [0.5], [(0.90, 0.91)])
    yield share(ONE_BETTER, UNPAIRED_Z, by_z(stream) >= 0, ours=False)
    z, n = _paired(rng, few, 100, 0.03, 0.02)
    first = _decided(z, n)
    paired = median(ONE_BETTER, f"{PAIRED}, {LABELS}", np.where(first >= 0, n[first], np.inf))
    stream = events(rng, few, [LOOKS], 700, [0.5], [(0.90, 0.91)])
    at = stream.at(by_sequence(stream, planned_units=PLANNED_UNITS))
    unpaired = median(ONE_BETTER, f"{UNPAIRED}, {LABELS}", at)
    yield from (paired, unpaired)
    times = unpaired.measured / paired.measured
    off = times * float(
        np.hypot(paired.error / paired.measured, unpaired.error / unpaired.measured)
    )
    yield Cell(ONE_BETTER, "unpaired by paired", times, off, few)


def _paired(
    rng: np.random.Generator, runs: int, step: int, up: float, down: float, looks: int = LOOKS
) -> tuple[Floats, Floats]:
    """Of the mean difference, -1, 0 or 1 a row: z at each look, and the rows by then."""
    came: Ints = rng.multinomial(step, [up, down, 1 - up - down], (runs, looks)).cumsum(axis=1)
    rows = step * np.arange(1.0, looks + 1)
    total, squares = came[..., 0] - came[..., 1], came[..., 0] + came[..., 1]
    variance = (squares - total**2 / rows) / (rows - 1)
    error = np.sqrt(variance / rows)
    return np.where(error > 0, total / rows / np.where(error > 0, error, 1), 0.0), rows


def _decided(z: Floats, rows: Floats) -> Ints:
    return firsts(always_valid_p(z, rows, tuning()) <= ALPHA)
