"""Answered requests become cells: who was exposed to which arm, and what befell them there.

One batch of one epoch. Each unit counts once where it must: in an epoch, in a contrast, for an
event. The ledger knows who was counted before; here is only what is new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gateway.experiments.cells import Cell, CellKey
from gateway.experiments.metrics import EXPOSURE, Metric, events_of
from gateway.monitoring.experiments.known import Known
from gateway.monitoring.experiments.tail import Answered
from gateway.store.ledger import Exposure, Ledger, Place, bucket_of, scope, signed

#: Longer lists of predictions are not kept for labels.
_MOST_ANSWERS = 64 * 1024
_MOST_CACHED = 200_000
#: (contrast, start, end, epoch, arm): a cell's key without its metric.
Group = tuple[str, int, int, str, str]


class Sets:
    """The ledger's sets of units, with those that were asked for lately kept at hand."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, set[int]] = {}
        self._cached = 0
        #: Units that were put into any set.
        self.added = 0

    def knows(self, scope: str, unit: int) -> bool:
        """Is it known, without asking, that the unit is in the set?"""
        known = self._known.get(scope)
        return known is not None and unit in known

    def mark(self, scope: str, units: Mapping[int, Group]) -> set[int]:
        """Put units into a set; those that were not in it."""
        new = self._ledger.mark(scope, units.keys())
        self.added += len(new)
        self._cached += len(units)
        if self._cached > _MOST_CACHED:
            self._known, self._cached = {}, 0
        self._known.setdefault(scope, set()).update(units)
        return new

    def among(self, scope: str, units: set[int]) -> set[int]:
        return self._ledger.among(scope, units)

    def forget(self) -> None:
        """What is known may not hold any more."""
        self._known, self._cached = {}, 0


@dataclass(frozen=True, slots=True)
class Rules:
    """What is measured now; `since` is when a metric was new: spans before it have none of it."""

    metrics: Mapping[str, Metric]
    since: Mapping[str, float]
    #: Seconds of a time span.
    span: int
    #: Buckets of units whose requests are indexed.
    kept: int
    slo: float | None
    indexes: bool

    def indexed(self, request_id: str, unit: int | None) -> bool:
        """Is the request among those that outcomes are taken of?

        Those without a unit are chosen by their random last byte.
        """
        bucket = bucket_of(unit) if unit is not None else int(request_id[-2:], 16)
        return self.indexes and bucket < self.kept

    def measured(self, start: int) -> list[str]:
        """The metrics that a span which begins then is measured by."""
        return [name for name in self.metrics if self.since.get(name, 0.0) <= start]


@dataclass(slots=True)
class Tally:
    """Counts requests; `settle` makes cells of them."""

    known: Known
    rules: Rules
    sets: Sets
    #: Arms that have answered since their front began: before that, none is known to be broken.
    answered: set[str]
    cells: dict[CellKey, Cell] = field(default_factory=dict)
    exposures: list[Exposure] = field(default_factory=list)
    shadows: list[tuple[str, Place, bytes]] = field(default_factory=list)
    excluded: Counter[str] = field(default_factory=Counter)
    epoch: str | None = None
    _marks: dict[str, dict[int, Group]] = field(default_factory=dict)
    _places: dict[tuple[str, ...], Place] = field(default_factory=dict)

    def add(self, request: Answered) -> None:
        self.epoch = request.epoch
        moment = datetime.fromisoformat(request.ts).timestamp()
        answers = bytes(request.predictions) or None
        if answers is not None and len(answers) > _MOST_ANSWERS:
            answers = None
        unit = signed(request.unit) if request.unit is not None else None
        is_indexed = self.rules.indexed(request.request_id, unit)
        if request.reason == "shadow":
            if is_indexed and request.status == "ok" and answers is not None:
                self.shadows.append((request.request_id, self._place(request), answers))
            return
        if is_indexed:
            ts = round(moment * 1000)
            self.exposures.append(
                Exposure(request.request_id, ts, self._place(request), unit, request.rows, answers)
            )
        if request.reason not in ("split", "no_unit"):
            self.excluded[request.reason] += 1
            return
        self._count(request, unit, moment)

    def _place(self, request: Answered) -> Place:
        key = (
            *(request.epoch, request.assigned, request.reason, request.status),
            *(request.branch, request.commit, request.fingerprint),
        )
        if key not in self._places:
            baseline = self.known.baseline_of(request.epoch)
            self._places[key] = Place(*key, baseline=baseline, span=self.rules.span)
        return self._places[key]

    def _count(self, request: Answered, unit: int | None, moment: float) -> None:
        start = int(moment // self.rules.span) * self.rules.span
        measured = self.rules.measured(start)
        events = [event for event in self._events(request) if event in measured]
        arm, baseline = request.assigned, self.known.baseline_of(request.epoch)
        for contrast in self.known.of_arm(request.epoch, baseline, arm, moment):
            commit = request.commit if request.branch == arm else ""
            self.known.seen(contrast, arm, commit, moment)
            group = (contrast, start, start + self.rules.span, request.epoch, arm)
            exposure = self._cell(group, EXPOSURE)
            if unit is None:
                exposure.tally("without_unit")
                for event in events:
                    exposure.tally(f"without_unit:{event}")
                continue
            exposure.tally("requests")
            bucket = bucket_of(unit)
            if bucket >= self.known.contrasts[contrast].kept:
                exposure.tally("not_kept")
                continue
            exposure.put(bucket, value=request.rows)
            self._mark(scope("arm", contrast, arm), unit, group)
            self._mark(scope("epoch", contrast, request.epoch), unit, group)
            for event in events:
                self._cell(group, event).tally("requests")
                self._mark(scope("event", contrast, event), unit, group)
                self._mark(scope("event", contrast, event, request.epoch), unit, group)

    def _events(self, request: Answered) -> tuple[str, ...]:
        found = events_of(request.status, request.latency_ms, self.rules.slo)
        if request.branch == request.assigned and request.status == "ok":
            self.answered.add(request.assigned)
        if request.status == "fallback_not_ready" and request.assigned not in self.answered:
            # It is being loaded after a start, which is no harm of its content.
            found = tuple(one for one in found if one == "latency_over_slo")
        return found

    def _mark(self, name: str, unit: int, group: Group) -> None:
        if not self.sets.knows(name, unit):
            self._marks.setdefault(name, {}).setdefault(unit, group)

    def _cell(self, group: Group, metric: str) -> Cell:
        key = CellKey(*group, metric)
        cell = self.cells.get(key)
        if cell is None:
            cell = self.cells[key] = Cell()
            if metric == EXPOSURE:
                # So that nothing of a metric is told from a metric that was not measured.
                for name in self.rules.measured(group[1]):
                    self.cells.setdefault(CellKey(*group, name), Cell())
        return cell

    def settle(self) -> dict[CellKey, Cell]:
        """File who is new; all that the batch adds to the cells."""
        for name, units in self._marks.items():
            kind, contrast, *rest = name.split("\x1f")
            new = self.sets.mark(name, units)
            if kind == "arm":
                other = scope("arm", contrast, self.known.contrasts[contrast].other(rest[0]))
                moved = self.sets.among(other, new)
                for unit in new:
                    cell = self.cells[CellKey(*units[unit], EXPOSURE)]
                    if unit in moved:
                        cell.tally("multiple")
                    else:
                        cell.events += 1
            elif kind == "epoch":
                for unit in new:
                    cell = self.cells[CellKey(*units[unit], EXPOSURE)]
                    cell.units += 1
                    cell.put(bucket_of(unit), count=1.0)
            else:
                count_event(self.cells, new, units, rest)
        return self.cells


def count_event(
    cells: dict[CellKey, Cell], new: set[int], units: Mapping[int, Group], rest: list[str]
) -> None:
    """Units that had an event for the first time: in a contrast, or (`rest` names it) an epoch."""
    metric, *epoch = rest
    for unit in new:
        cell = cells[CellKey(*units[unit], metric)]
        if epoch:
            cell.units += 1
            cell.put(bucket_of(unit), value=1.0)
        else:
            cell.events += 1
