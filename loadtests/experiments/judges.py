"""Who looks at a stream, again and again: the gateway's own code, and the usual z-test.

Each says at which look it first found something, -1 for never: (runs,).
"""

from __future__ import annotations

import math

import numpy as np

from gateway.statistics.effects import Effect, Kind, effect
from gateway.statistics.rates import STRENGTH, log_dirichlet, log_evidence
from gateway.statistics.sequences import ALPHA
from loadtests.experiments.records import Bools, Ints
from loadtests.experiments.streams import Floats, Stream

#: What the figures of STATISTICS were measured with, where it says so.
PLANNED = 5_000
#: Numbers that are held at once.
_AT_ONCE = 20_000


def firsts(found: Bools) -> Ints:
    """Of what was found by look: (runs, looks)."""
    return np.where(found.any(axis=1), found.argmax(axis=1), -1)


def by_sequence(
    stream: Stream,
    kind: Kind = "binary",
    *,
    alpha: float = ALPHA,
    planned_units: int = PLANNED,
    truth: float | None = None,
) -> Ints:
    """(A): the first look that decides; with a `truth`, the first interval that leaves it out."""
    found = np.full(stream.runs, -1, dtype=np.int64)
    for run in range(stream.runs):
        for look in range(stream.looks):
            one = effect(stream.sides(run, look), kind, alpha=alpha, planned_units=planned_units)
            if not isinstance(one, Effect):
                continue
            if one.p <= alpha if truth is None else one.difference.excludes(truth):
                found[run] = look
                break
    return found


def by_evidence(stream: Stream, log_ratio: float = 0.0, *, alpha: float = ALPHA) -> Ints:
    """(B) against this rate ratio: where it is the true one, the interval leaves it out."""
    size = max(1, _AT_ONCE // stream.looks)
    log_e = np.concatenate(
        [
            log_evidence(
                stream.b.total[at : at + size],
                stream.both[at : at + size],
                stream.shares,
                log_ratio,
            )
            for at in range(0, stream.runs, size)
        ]
    )
    return firsts(log_e >= -math.log(alpha))


def by_closed_form(stream: Stream, *, alpha: float = ALPHA, strength: float = STRENGTH) -> Ints:
    """The Dirichlet mixture of each epoch, multiplied."""
    log_e: Floats = np.zeros((stream.runs, stream.looks))
    for k, part in enumerate(stream.shares):
        counts = np.stack([stream.a.total[..., k], stream.b.total[..., k]], axis=2)
        log_e += log_dirichlet(counts, [1 - part, part], strength)
    return firsts(log_e >= -math.log(alpha))


def by_z(stream: Stream, *, once: bool = False, truth: float = 0.0) -> Ints:
    """A foil: 1.96 standard errors, at each look or only at the last, over one epoch."""
    means, variances = [], []
    for arm in (stream.a, stream.b):
        n = np.maximum(arm.units[..., 0], 2).astype(np.float64)
        total, squares = arm.total[..., 0], arm.squares[..., 0]
        means.append(total / n)
        variances.append((squares - total**2 / n) / (n - 1) / n)
    off, error = means[1] - means[0] - truth, np.sqrt(variances[0] + variances[1])
    found = (np.abs(off) > 1.96 * error) & (error > 0)
    if once:
        found[:, :-1] = False
    return firsts(found)
