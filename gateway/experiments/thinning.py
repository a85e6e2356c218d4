"""The course of an interval in few points: what a plot of any length can be made of. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Point(msgspec.Struct, frozen=True, array_like=True):
    """An interval as of one look: when, what it was, and the word that stood beside it.

    `unit` is `relative` for parts of the baseline's value, `difference` for the metric's own unit.
    """

    at: float
    estimate: float | None
    low: float | None
    high: float | None
    word: str
    units: int
    unit: str


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many of them, in their order, the first and the last always among them.

    Where the word changed a point stays as long as there is room for anything; of the others those
    go first whose neighbours are closest to one another, so that old and new stay evenly told.
    """
    found = list(points)
    while len(found) > max(2, most):
        inner = range(1, len(found) - 1)
        plain = [i for i in inner if found[i].word == found[i - 1].word]
        least = min(plain or inner, key=lambda i: found[i + 1].at - found[i - 1].at)
        del found[least]
    return found
