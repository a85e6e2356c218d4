"""Distributions made smaller for people: fewer cells, and blocks of text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
Cell = tuple[str, float, float]


def fewer(shares: Sequence[float], cells: int) -> list[float]:
    """Neighbours added up until there are at most `cells`."""
    count = len(shares)
    if count <= cells:
        return list(shares)
    starts = [place * count // cells for place in range(cells + 1)]
    return [sum(shares[a:b]) for a, b in pairwise(starts)]


def blocks(reference: Sequence[float], current: Sequence[float], cells: int) -> tuple[str, str]:
    """Both as one line of blocks each, on one scale; a cell without a row is a blank."""
    before, now = fewer(reference, cells), fewer(current, cells)
    highest = max([*before, *now], default=0.0)
    return _line(before, highest), _line(now, highest)


def _line(shares: Sequence[float], highest: float) -> str:
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round(top * one / highest)] if one > 0 else " " for one in shares)


def most_telling(cells: Sequence[Cell], most: int) -> list[Cell]:
    """The categories worth a line, in the given order, and the rest as one."""
    if len(cells) <= most:
        return list(cells)
    places = sorted(range(len(cells)), key=lambda place: -max(cells[place][1:]))[: most - 1]
    kept = set(places)
    rest = [cell for place, cell in enumerate(cells) if place not in kept]
    others = (f"{len(rest)} others", sum(c[1] for c in rest), sum(c[2] for c in rest))
    return [*(cells[place] for place in sorted(kept)), others]
