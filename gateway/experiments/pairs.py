"""A shadow beside the baseline, on labelled rows that both have predicted.

Nobody was answered by a shadow, and each row is its own control, so neither weights nor epochs
matter to it.
"""

from __future__ import annotations

import math

import numpy as np

from gateway.experiments.document import PairedReadout
from gateway.experiments.evidence import Terms
from gateway.experiments.metrics import Metric
from gateway.experiments.shown import bounds
from gateway.experiments.spans import Layout, dense
from gateway.statistics.paired import Paired, evidence_at_looks, paired
from gateway.statistics.sequences import CannotSay
from gateway.statistics.standing import standing
from gateway.statistics.sums import Floats
from gateway.timestamps import rfc3339

_NO_SPLIT = CannotSay("nothing is split")


def paired_readout(
    metric: Metric, layout: Layout, terms: Terms, stale: str | None
) -> PairedReadout:
    """Of the metric's `paired:` cells; there is at least one."""
    values, counts, differing = _so_far(layout)
    planned = metric.planned_units
    events = int(differing[-1])
    found = paired(values[-1], counts[-1], events, alpha=terms.alpha, planned_units=planned)
    log_e, mean = evidence_at_looks(
        values, counts, differing, alpha=terms.alpha, planned_units=planned
    )
    least = None
    if isinstance(found, Paired):
        agreed = log_e[np.sign(mean) == found.direction].max(initial=found.log_e)
        least = math.exp(min(0.0, -float(agreed)))
    stands = standing(
        found,
        _NO_SPLIT,
        direction=metric.direction,
        margin=metric.margin,
        alpha=terms.alpha,
        p=least,
        stale=stale,
    )
    largest = float(log_e.max())
    return PairedReadout(
        metric=metric.name,
        status=stands.word,
        reason=stands.reason,
        rows=int(counts[-1].sum()),
        differing=events,
        difference=bounds(found.difference) if isinstance(found, Paired) else None,
        p=math.exp(min(0.0, -largest)) if math.isfinite(largest) else None,
        as_of=rfc3339(int(layout.ends[-1])),
    )


def _so_far(layout: Layout) -> tuple[Floats, Floats, Floats]:
    """At each look: differences and rows by bucket, (looks, 256), and rows that differ."""
    found = []
    for part in (
        dense([cell.values for cell in layout.cells]),
        dense([cell.counts for cell in layout.cells]),
        np.array([cell.events for cell in layout.cells], dtype=np.float64),
    ):
        grown = np.zeros((layout.looks, *part.shape[1:]))
        np.add.at(grown, layout.look, part)
        found.append(grown.cumsum(axis=0))
    values, counts, differing = found
    return values, counts, differing
