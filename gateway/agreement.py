"""How far a shadow agrees with the branches that answered: pure sums over compared rows.

The same figures come out of the recorded rows: equal predictions and the difference of scores,
both as they stand there, joined by request id and row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from gateway.names import Branch, Fingerprint
from gateway.scores import Classes, scores_of

_PAIRS_KEPT = 256


class Said(NamedTuple):
    """One branch's answer to a request, as JSON array texts; `probabilities` may be empty."""

    predictions: bytes
    probabilities: bytes
    classes: Classes


class Comparison(NamedTuple):
    """The rows of one request or of many; `difference` is summed over the `scored` ones."""

    rows: int
    equal: int
    scored: int
    difference: float


class Pair(NamedTuple):
    """Who is compared with whom, and at which content."""

    shadow: Branch
    fingerprint: Fingerprint
    served: Branch
    served_fingerprint: Fingerprint


@dataclass(slots=True)
class Figures:
    """The sums of one pair; `since` is the Unix time of its first comparison."""

    since: float
    rows: int = 0
    equal: int = 0
    scored: int = 0
    difference: float = 0.0

    @property
    def equal_share(self) -> float:
        """Share of equal predictions."""
        return self.equal / self.rows

    @property
    def score_difference(self) -> float | None:
        """Mean absolute difference of scores; None where no row has two."""
        return self.difference / self.scored if self.scored else None


class Agreement:
    """Figures by pair: a push to either branch begins new ones, a revert goes on with the old."""

    def __init__(self) -> None:
        self._figures: dict[Pair, Figures] = {}

    def add(self, pair: Pair, found: Comparison, now: float) -> None:
        # Taken out and put back, the pairs stand in the order of their last use.
        figures = self._figures.pop(pair, None)
        if figures is None:
            figures = Figures(now)
            if len(self._figures) >= _PAIRS_KEPT:
                del self._figures[next(iter(self._figures))]
        self._figures[pair] = figures
        figures.rows += found.rows
        figures.equal += found.equal
        figures.scored += found.scored
        figures.difference += found.difference

    def of(self, pair: Pair) -> Figures | None:
        return self._figures.get(pair)


def compared(rows: int, served: Said, shadow: Said) -> Comparison:
    """Two answers to the same `rows`; ValueError if one is not of as many."""
    if served.predictions == shadow.predictions:
        equal = rows
    else:
        one: list[Any] = msgspec.json.decode(served.predictions)
        other: list[Any] = msgspec.json.decode(shadow.predictions)
        equal = sum(map(_same, one, other))
        if not len(one) == len(other) == rows:
            raise ValueError(f"{len(one)} and {len(other)} predictions for {rows} rows")
    if not served.probabilities or not shadow.probabilities:
        return Comparison(rows, equal, 0, 0.0)
    scored, difference = 0, 0.0
    for mine, its in zip(scores_of(*served), scores_of(*shadow), strict=True):
        if mine is not None and its is not None:
            scored += 1
            difference += abs(mine - its)
    return Comparison(rows, equal, scored, difference)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: numbers by value, and true is no number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)
