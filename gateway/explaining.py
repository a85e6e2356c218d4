"""Why a unit gets its arm, and with which weight another arm would have it. Pure.

The same numbers that `assignment` decides by, kept instead of thrown away.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import log

from gateway.assignment import Split, uniform
from gateway.names import Branch


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm's part in the decision: `score` is weight / -ln `u`, and the highest one wins."""

    branch: Branch
    weight: float
    share: float
    u: float
    score: float
    #: The unit is this arm's with any weight above 0 from here on, the others being as they are;
    #: None where no number is large enough.
    wins_from: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every arm, also those of weight 0; the one that has the unit first, then by score."""

    unit: str
    salt: str
    arms: tuple[Arm, ...]

    @property
    def winner(self) -> Arm:
        return self.arms[0]

    @property
    def others(self) -> tuple[Arm, ...]:
        return self.arms[1:]


def explain(split: Split, unit: str) -> Explanation:
    """What `split.assign(unit)` decides by."""
    numbers = {arm: uniform(split.salt, arm, unit) for arm in split.weights}
    scores = {arm: weight / -log(numbers[arm]) for arm, weight in split.weights.items()}
    arms = [
        Arm(
            branch,
            weight,
            split.propensities[branch],
            numbers[branch],
            scores[branch],
            _wins_from(branch, numbers[branch], split, scores),
        )
        for branch, weight in split.weights.items()
    ]
    winner = split.assign(unit)
    arms.sort(key=lambda arm: (arm.branch != winner, -arm.score, arm.branch))
    return Explanation(unit, split.salt, tuple(arms))


def _wins_from(arm: Branch, u: float, split: Split, scores: dict[Branch, float]) -> float | None:
    rivals = {other: scores[other] for other in scores if other != arm and split.weights[other] > 0}
    # Of equal scores the first name wins.
    above = max((score for other, score in rivals.items() if other < arm), default=-1.0)
    least = max((score for other, score in rivals.items() if other > arm), default=-1.0)

    def wins(weight: float) -> bool:
        score = weight / -log(u)
        return score > above and score >= least

    return _least(wins)


def _least(holds: Callable[[float], bool]) -> float | None:
    """The least float from 0 on for which it holds, as it then does for every larger one.

    Floats that are not negative are ordered as their bits are: 63 questions find the very one,
    which no solving of the formula does, as its rounding is part of what decides.
    """
    low, high = 0, _bits(sys.float_info.max)
    if not holds(sys.float_info.max):
        return None
    while low < high:
        middle = (low + high) // 2
        if holds(_float(middle)):
            high = middle
        else:
            low = middle + 1
    return _float(low)


def _bits(value: float) -> int:
    return int.from_bytes(struct.pack(">d", value), "big")


def _float(bits: int) -> float:
    value: float = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    return value
