"""By which cells two samples are compared: none is so rare that a single row is a drift.

X² divides by what a cell would hold without drift. One row where the reference has none would
exceed any tolerance by itself, so rare cells are counted together until they are rare no more.
"""

from __future__ import annotations

import numpy as np

from gateway.statistics.measures import Counts

#: What a cell must hold without drift, of the first sample and of the second, in independent rows.
#: More of the first: which values a reference knows at all is chance where it has few of each.
_LEAST = 5.0, 2.0
#: Bins of an ordered column are joined until they hold this share of the reference.
_BIN_SHARE = 0.075

Pair = tuple[Counts, Counts]
Independence = tuple[float, float]


def joined_bins(a: Counts) -> list[int]:
    """Where to begin each group of neighbouring bins, so that a plain 20 become 10.

    A bin that holds a tenth of the reference by itself, such as the zeros of a zero-inflated
    column, is never joined: what moves away from it must show.
    """
    least = _BIN_SHARE * a.sum()
    starts = [0]
    held = 0
    for place, count in enumerate(a.tolist()):
        if place and (held >= least or (count >= least and held)):
            starts.append(place)
            held = 0
        held += count
    return starts


def neighbours(
    a: Counts, b: Counts, independence: Independence = (1.0, 1.0), *, by: Counts | None = None
) -> Pair:
    """Cells of an order without gaps: groups of `joined_bins`, none of which is rare.

    `by` are the reference's own counts, where `a` is another sample.
    """
    starts = joined_bins(a if by is None else by)
    a, b = np.add.reduceat(a, starts), np.add.reduceat(b, starts)
    least = _least(a, b, independence)
    starts, held = [0], 0
    for place, count in enumerate((a + b).tolist()):
        if held >= least:
            starts.append(place)
            held = 0
        held += count
    if held < least and len(starts) > 1:
        starts.pop()
    return np.add.reduceat(a, starts), np.add.reduceat(b, starts)


def pooled(a: Counts, b: Counts, rest: int = 0, independence: Independence = (1.0, 1.0)) -> Pair:
    """The cells without empty ones, with rare ones counted as one.

    So are the last `rest` cells, which hold what `a` knows no name for: it is as rare in `a` as
    chance would have it. If all these are rare together, the smallest of the others joins them.
    """
    both = a + b
    least = _least(a, b, independence)
    gathered = both < least
    if rest:
        gathered[-rest:] = True
    if 0 < both[gathered].sum() < least and not gathered.all():
        gathered[np.argmin(np.where(gathered, both.max() + 1, both))] = True
    kept = ~gathered
    if not both[gathered].any():
        return a[kept], b[kept]
    return np.append(a[kept], a[gathered].sum()), np.append(b[kept], b[gathered].sum())


def _least(a: Counts, b: Counts, independence: Independence) -> float:
    """Rows of both samples together from which on a cell is not rare."""
    m, n = float(a.sum()), float(b.sum())
    return max(
        least * (m + n) / (rows * share)
        for least, rows, share in zip(_LEAST, (m, n), independence, strict=True)
    )
