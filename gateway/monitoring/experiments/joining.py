"""Outcomes meet the requests they are about: once each, in time, and scored for every branch.

An outcome whose request is not known waits for it; after ten minutes it is of an unknown one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from gateway.chunks import Outcome
from gateway.experiments.cells import Cell, CellKey
from gateway.experiments.contrasts import Contrast
from gateway.experiments.metrics import PAIRED, Metric, rounded
from gateway.monitoring.experiments.known import Known
from gateway.monitoring.experiments.tally import Group, Rules, Sets
from gateway.monitoring.segments import line_of
from gateway.names import BUCKETS, Branch
from gateway.store.ledger import (
    LATE,
    Exposure,
    KeptOutcome,
    Ledger,
    Line,
    Place,
    bucket_of,
    scope,
)
from gateway.timestamps import rfc3339

#: Milliseconds that an outcome waits for its request.
PATIENCE = 600_000
_MOST_RETRIED = 10_000


@dataclass(slots=True)
class Joining:
    """Joins one batch of outcomes; what comes of it is in `cells`, `lines` and `counts`."""

    ledger: Ledger
    known: Known
    rules: Rules
    sets: Sets
    cells: dict[CellKey, Cell] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    #: By what became of them. `waiting` is how many more wait than before.
    counts: Counter[str] = field(default_factory=Counter)
    #: How many more the ledger keeps of those that do not wait.
    kept: int = 0

    def take(self, outcome: Outcome) -> None:
        """One that was read just now.

        What came too late takes nothing from what came in time, whichever is read first: rows of
        several fronts cross on the way.
        """
        before = self.ledger.outcome(outcome.request_id, outcome.row, outcome.metric)
        exposure = self.ledger.exposure(outcome.request_id)
        if outcome.late:
            self._take_late(outcome, before, exposure)
        elif before is None or not before.in_time:
            self._take_first(outcome, before, exposure)
        else:
            before.duplicates += 1
            self.ledger.keep(before)
            self.counts["duplicate"] += 1
            # Of one that waits it is told when that is joined.
            if exposure is not None and before.status != "waiting":
                self._tally(exposure, outcome.metric, "duplicate", 1)

    def _take_first(
        self, outcome: Outcome, late: KeptOutcome | None, exposure: Exposure | None
    ) -> None:
        """In time, and at most `late` was read of it before."""
        kept = _kept(outcome)
        if late is not None:
            kept.late = late.late
            self.kept -= late.status != "waiting"
        if exposure is None:
            # Of another front, whose rows come later; or of nobody.
            self.counts["waiting"] += 1
        else:
            self._accept(kept, exposure)
            if late is not None and late.status == "waiting":
                self._repeats(kept, exposure)
        self.ledger.keep(kept)
        self.kept += kept.status != "waiting"

    def _take_late(
        self, outcome: Outcome, before: KeptOutcome | None, exposure: Exposure | None
    ) -> None:
        self.counts["late"] += 1
        kept = before or _kept(outcome, LATE)
        kept.late += 1
        if exposure is not None and before is None:
            self._late(kept, exposure)
            self.kept += 1
        elif exposure is not None and kept.status != "waiting":
            self._tally(exposure, kept.metric, "late", 1)
        self.ledger.keep(kept)

    def retry(self, watermark: int) -> None:
        """Those that wait; `watermark` in milliseconds is up to when everything was read."""
        for kept in self.ledger.waiting(watermark - PATIENCE, _MOST_RETRIED):
            exposure = self.ledger.exposure(kept.request_id)
            is_late, kept.branch = kept.branch == LATE, ""
            self.counts["waiting"] -= not is_late
            if exposure is not None and is_late:
                self._late(kept, exposure)
            elif exposure is not None:
                self._accept(kept, exposure)
                self._repeats(kept, exposure)
            elif is_late:
                kept.status = "late"
            else:
                kept.status = "unknown"
                self.counts["unknown"] += 1
            if exposure is None and self.rules.kept < BUCKETS:
                # Most are of requests that are not kept, and as many as those.
                self.ledger.drop(kept)
            else:
                self.ledger.keep(kept)
                self.kept += 1

    def shadowed(self, request_id: str, place: Place, answers: bytes) -> None:
        """A shadow's answer was read: labels of the request may have come before it."""
        exposure = None
        for kept in self.ledger.outcomes(request_id):
            if kept.label is None or kept.status != "accepted":
                continue
            exposure = exposure or self.ledger.exposure(request_id)
            if exposure is not None:
                self._pair(kept, exposure, place, answers)

    def _late(self, kept: KeptOutcome, exposure: Exposure) -> None:
        kept.status, kept.branch = "late", exposure.place.branch
        self._write(kept, kept.value, exposure.place)
        self._repeats(kept, exposure)

    def _accept(self, kept: KeptOutcome, exposure: Exposure) -> None:
        place = exposure.place
        value = kept.value
        if kept.label is not None:
            value = _score(kept.label, exposure.answers, kept.row)
        if kept.row >= exposure.rows or value is None:
            # The request has no such row, or no prediction that a label could be compared with.
            kept.status = "unknown"
            self.counts["unknown"] += 1
            return
        kept.status, kept.branch, kept.value = "accepted", place.branch, value
        self.counts["accepted"] += 1
        self._write(kept, value, place)
        for key, metric in self._cells_of(exposure, kept.metric):
            self._count(key, metric, exposure.unit or 0, rounded(value))
        if kept.label is not None:
            for shadow, answers in self.ledger.shadow_answers(kept.request_id):
                self._pair(kept, exposure, shadow, answers)

    def _cells_of(self, exposure: Exposure, name: str) -> Iterator[tuple[CellKey, Metric]]:
        """The cells that outcomes of a request count in, one a contrast."""
        place, metric = exposure.place, self.rules.metrics.get(name)
        start, end = _span(exposure)
        if metric is None or self.rules.since.get(name, 0.0) > start:
            return
        if place.reason != "split" or exposure.unit is None:
            return
        moment = exposure.ts / 1000
        for contrast in self.known.of_arm(place.epoch, place.baseline, place.assigned, moment):
            if bucket_of(exposure.unit) >= self.known.contrasts[contrast].kept:
                continue
            key = CellKey(contrast, start, end, place.epoch, place.assigned, name)
            self.cells.setdefault(key, Cell())
            yield key, metric

    def _count(self, key: CellKey, metric: Metric, unit: int, value: float) -> None:
        cell, bucket = self.cells[key], bucket_of(unit)
        cell.tally("outcomes")
        if metric.kind == "binary" and not value:
            return
        group: Group = (key.contrast, key.start, key.end, key.epoch, key.arm)
        if self.sets.mark(scope("event", key.contrast, key.metric), {unit: group}):
            cell.events += 1
        new = self.sets.mark(scope("event", key.contrast, key.metric, key.epoch), {unit: group})
        cell.units += len(new)
        if metric.kind == "binary":
            cell.put(bucket, value=float(len(new)))
        else:
            cell.put(bucket, value=value, count=1.0 if metric.kind == "ratio" else 0.0)

    def _pair(self, kept: KeptOutcome, exposure: Exposure, shadow: Place, answers: bytes) -> None:
        """The shadow's own row, and the difference from the baseline's on the same input."""
        assert kept.label is not None
        value = _score(kept.label, answers, kept.row)
        if value is None:
            return
        self._write(kept, value, shadow)
        place = exposure.place
        epoch = self.known.epochs.get(place.epoch)
        if epoch is None or place.branch != place.baseline or place.status != "ok":
            return
        if exposure.unit is None:
            return
        metric = self.rules.metrics.get(kept.metric)
        start, end = _span(exposure)
        if metric is None or self.rules.since.get(kept.metric, 0.0) > start:
            return
        contrast = Contrast(
            epoch.salt,
            Branch(place.branch),
            place.fingerprint,
            Branch(shadow.branch),
            shadow.fingerprint,
        )
        name = self.known.of_shadow(contrast, place.epoch, exposure.ts / 1000)
        if bucket_of(exposure.unit) >= self.known.contrasts[name].kept:
            return
        for one in (place, shadow):
            self.known.seen(name, one.branch, one.commit, exposure.ts / 1000)
        key = CellKey(name, start, end, place.epoch, shadow.branch, PAIRED + kept.metric)
        cell = self.cells.setdefault(key, Cell())
        difference = value - (kept.value or 0.0)
        cell.put(bucket_of(exposure.unit), value=difference, count=1.0)
        cell.events += bool(difference)

    def _repeats(self, kept: KeptOutcome, exposure: Exposure) -> None:
        """It was told again, or too late, while it waited."""
        if kept.status != "unknown":
            self._tally(exposure, kept.metric, "duplicate", kept.duplicates)
            self._tally(exposure, kept.metric, "late", kept.late)

    def _tally(self, exposure: Exposure, metric: str, name: str, times: int) -> None:
        if times:
            for key, _ in self._cells_of(exposure, metric):
                self.cells[key].tally(name, times)

    def _write(self, kept: KeptOutcome, value: float | None, place: Place) -> None:
        """A row for git, in the folder of the branch that predicted."""
        text = line_of(
            *(rfc3339(kept.ts / 1000), kept.request_id, kept.row, place.branch, place.commit),
            *(kept.metric, "" if value is None else repr(value), kept.status),
        )
        self.lines.append(Line("outcomes", Branch(place.branch), text))


def _kept(outcome: Outcome, branch: str = "") -> KeptOutcome:
    """As it waits."""
    ts = round(datetime.fromisoformat(outcome.ts).timestamp() * 1000)
    label = outcome.label.encode() if outcome.label is not None else None
    name = (outcome.request_id, outcome.row, outcome.metric)
    return KeptOutcome(*name, ts, outcome.value, label, "waiting", branch)


def _span(exposure: Exposure) -> tuple[int, int]:
    length = exposure.place.span
    start = exposure.ts // 1000 // length * length
    return start, start + length


def _score(label: bytes, answers: bytes | None, row: int) -> float | None:
    """1 if the label is what was predicted, 0 if not; None without a prediction of that row."""
    if answers is None:
        return None
    predictions = msgspec.json.decode(answers)
    if not isinstance(predictions, list) or not 0 <= row < len(predictions):
        return None
    return float(msgspec.json.decode(label) == predictions[row])
