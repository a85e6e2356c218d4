"""Cells of made-up experiments: added up visit by visit, or drawn at once for whole time spans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.experiments.cells import Cell, CellKey
from gateway.experiments.contrasts import Contrast
from gateway.experiments.evidence import Evidence
from gateway.experiments.metrics import EXPOSURE, Metric
from gateway.names import BUCKETS, Branch

HOUR = 3_600
#: 2026-11-23T10:00:00Z, a multiple of an hour.
START = 1_795_428_000
CONTRAST = Contrast("salt", Branch("prod"), "a" * 32, Branch("exp"), "b" * 32)
COMMITS = ("c" * 40, "d" * 40)
EPOCH = "0" * 12

Cells = dict[CellKey, Cell]


@dataclass
class Visit:
    """A unit is answered `rows` rows in some hour, and this becomes of them, by metric."""

    hour: int
    unit: int
    arm: str
    epoch: str = EPOCH
    rows: int = 1
    outcomes: Mapping[str, Sequence[float]] = field(default_factory=dict)


def key(hour: int, arm: str, metric: str, epoch: str = EPOCH) -> CellKey:
    start = START + hour * HOUR
    return CellKey(CONTRAST.id, start, start + HOUR, epoch, arm, metric)


def added_up(visits: Iterable[Visit], metrics: Sequence[Metric]) -> Cells:
    """By the words of `Cell`, as plainly as it can be done."""
    cells: Cells = {}
    seen: set[tuple[object, ...]] = set()

    def new(*what: object) -> bool:
        is_new = what not in seen
        seen.add(what)
        return is_new

    for visit in sorted(visits, key=lambda one: one.hour):
        bucket, other = visit.unit % BUCKETS, "exp" if visit.arm == "prod" else "prod"
        for arm in ("prod", "exp"):
            for name in (EXPOSURE, *(metric.name for metric in metrics)):
                cells.setdefault(key(visit.hour, arm, name, visit.epoch), Cell())
        exposed = cells[key(visit.hour, visit.arm, EXPOSURE, visit.epoch)]
        exposed.put(bucket, value=visit.rows)
        exposed.tally("requests")
        if new("arm", visit.arm, visit.unit) and ("arm", other, visit.unit) in seen:
            exposed.tally("multiple")
        if new("epoch", visit.epoch, visit.unit):
            exposed.units += 1
            exposed.put(bucket, count=1)
        exposed.events += new("unit", visit.unit)
        for metric in metrics:
            values = visit.outcomes.get(metric.name, ())
            cell = cells[key(visit.hour, visit.arm, metric.name, visit.epoch)]
            if values:
                cell.tally("outcomes", len(values))
            if any(values) if metric.kind == "binary" else values:
                is_first = new(metric.name, visit.epoch, visit.unit)
                cell.units += is_first
                cell.events += new(metric.name, visit.unit)
                _put(cell, metric, bucket, values, is_first)
    return cells


def _put(cell: Cell, metric: Metric, bucket: int, values: Sequence[float], is_first: bool) -> None:
    if metric.kind == "binary":
        cell.put(bucket, value=float(is_first))
    else:
        cell.put(bucket, value=sum(values), count=len(values) if metric.kind == "ratio" else 0)


def drawn(
    rng: np.random.Generator,
    hour: int,
    units: int,
    share: float,
    rates: Mapping[str, tuple[float, float]],
    epoch: str = EPOCH,
) -> Cells:
    """New units of an hour, and which of them have the events, by metric (baseline, candidate)."""
    candidate = int(rng.binomial(units, share))
    found: Cells = {}
    for arm, (name, n) in enumerate((("prod", units - candidate), ("exp", candidate))):
        spread = rng.multinomial(n, np.full(BUCKETS, 1 / BUCKETS))
        counts = {bucket: float(count) for bucket, count in enumerate(spread) if count}
        found[key(hour, name, EXPOSURE, epoch)] = Cell(n, n, dict(counts), counts)
        for metric, rate in rates.items():
            events = rng.binomial(spread, rate[arm])
            values = {bucket: float(count) for bucket, count in enumerate(events) if count}
            total = int(events.sum())
            found[key(hour, name, metric, epoch)] = Cell(total, total, values)
    return found


def evidence(
    written: Mapping[CellKey, Cell],
    shares: Mapping[str, float] | None = None,
    *,
    live: Mapping[CellKey, Cell] | None = None,
    current: bool = True,
    shadow: bool = False,
) -> Evidence:
    """A half of the users to either, unless it is said otherwise."""
    parts = {EPOCH: 0.5} if shares is None else shares
    return Evidence(CONTRAST, COMMITS, parts, written, live or {}, current=current, shadow=shadow)
