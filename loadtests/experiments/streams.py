"""Experiments that are simulated: what two arms add up to, at every look.

Arrays are (runs, looks, epochs) and hold all that has come in up to a look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.statistics.sums import Sides, UnitSums
from loadtests.experiments.records import Ints

Floats = npt.NDArray[np.float64]
Made = Callable[[np.random.Generator, tuple[int, ...]], Floats]


@dataclass(frozen=True, slots=True)
class Arm:
    """Units, and the sums and squares of their values."""

    units: Ints
    total: Floats
    squares: Floats

    @classmethod
    def of_events(cls, units: Ints, events: Ints) -> Arm:
        counted = events.astype(np.float64)
        return cls(units, counted, counted)

    def pooled(self) -> Arm:
        parts = (self.units, self.total, self.squares)
        return Arm(*(part.sum(axis=2, keepdims=True) for part in parts))


@dataclass(frozen=True, slots=True)
class Stream:
    """The baseline `a`, the candidate `b`, and its shares, one an epoch."""

    a: Arm
    b: Arm
    shares: Floats
    #: Units of both arms that come between two looks.
    step: int

    @property
    def runs(self) -> int:
        return len(self.a.units)

    @property
    def looks(self) -> int:
        return int(self.a.units.shape[1])

    @property
    def both(self) -> Floats:
        return np.asarray(self.a.total + self.b.total)

    def pooled(self) -> Stream:
        """As if there were one epoch."""
        return Stream(self.a.pooled(), self.b.pooled(), np.array([0.5]), self.step)

    def sides(self, run: int, look: int) -> list[Sides[UnitSums]]:
        """What `effect` is given at this look."""
        arms = (
            zip(
                arm.units[run, look].tolist(),
                arm.total[run, look].tolist(),
                arm.squares[run, look].tolist(),
                strict=True,
            )
            for arm in (self.a, self.b)
        )
        return [Sides(UnitSums(*a), UnitSums(*b)) for a, b in zip(*arms, strict=True)]

    def at(self, first: Ints) -> Floats:
        """Units of both arms at those looks; infinite where there is none."""
        return np.where(first >= 0, (first + 1.0) * self.step, np.inf)


def events(
    rng: np.random.Generator,
    runs: int,
    looks: Sequence[int],
    step: int,
    shares: Sequence[float],
    rates: Sequence[tuple[float, float]],
) -> Stream:
    """A binary metric. Epochs follow one another, each with its looks, share and (a, b) rates."""
    a, b = [], []
    for k, (part, (rate_a, rate_b)) in enumerate(zip(shares, rates, strict=True)):
        n_b = rng.binomial(step, part, (runs, looks[k]))
        x_a, x_b = rng.binomial(step - n_b, rate_a), rng.binomial(n_b, rate_b)
        before, after = sum(looks[:k]), sum(looks[k + 1 :])
        a.append([_placed(one, before, after) for one in (step - n_b, x_a)])
        b.append([_placed(one, before, after) for one in (n_b, x_b)])
    return Stream(_arm(a), _arm(b), np.array(shares), step)


def _arm(epochs: Sequence[Sequence[Ints]]) -> Arm:
    units, happened = (np.stack(each, axis=2) for each in zip(*epochs, strict=True))
    return Arm.of_events(units, happened)


def _placed(came: Ints, before: int, after: int) -> Ints:
    """What came in during an epoch, added up: nothing before it, and no more after it."""
    so_far = came.cumsum(axis=1)
    none = np.zeros((len(came), before), dtype=np.int64)
    return np.concatenate([none, so_far, so_far[:, -1:].repeat(after, axis=1)], axis=1)


def values(rng: np.random.Generator, runs: int, looks: int, step: int, made: Made) -> Stream:
    """A metric of numbers, half of the units in either arm, without an effect."""
    parts = []
    for _ in range(runs):
        each = made(rng, (looks, step))
        of_b = rng.random((looks, step)) < 0.5
        arms = (
            (mine.sum(axis=1), (each * mine).sum(axis=1), (each**2 * mine).sum(axis=1))
            for mine in (~of_b, of_b)
        )
        parts.append([part.cumsum() for arm in arms for part in arm])
    stacked = [np.stack(each)[..., None] for each in zip(*parts, strict=True)]
    return Stream(Arm(*stacked[:3]), Arm(*stacked[3:]), np.array([0.5]), step)
