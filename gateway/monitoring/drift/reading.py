"""One chunk being taken: each request goes to its stream's window, and to that of its pair."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime

from gateway.chunks import EpochRecord, Header, Record, Request, Schema
from gateway.monitoring.drift.blocks import Batch, Block, block_of
from gateway.monitoring.drift.book import Book
from gateway.monitoring.drift.references import Changes, Place
from gateway.monitoring.drift.series import Part, Terms
from gateway.monitoring.drift.streams import ALONE, ARM, BASELINE, Stream
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.names import Branch, Commit
from gateway.statistics.reference import DERIVED
from gateway.statistics.window import Bins

#: Rows of which the split is what chose the arm.
_SPLIT = frozenset({"split", "no_unit"})


class Reading:
    """Counts a chunk's records into the book; `finish` says what else the store is to remember."""

    def __init__(self, book: Book, settings: MonitorSettings, header: Header) -> None:
        self._book = book
        self._header = header
        self._baseline = settings.baseline
        self._wanted = settings.drift.reference
        rules = settings.drift
        self._terms = Terms(rules.window, rules.min_rows, rules.longest)
        self._tips = served_tips(settings)
        self._schemas: dict[str, Schema] = {}
        self._epochs: dict[str, EpochRecord] = {}
        self._batches: dict[tuple[Stream, float, str], Batch] = {}
        self._last: dict[Stream, Part] = {}
        self._gathered: dict[Stream, list[Block]] = {}
        self._settled: set[Stream] = set()
        self._changes: Changes = {}

    def add(self, record: Record | object) -> None:
        match record:
            case Request():
                self._add_request(record)
            case Schema():
                self._schemas[record.fingerprint] = record
            case EpochRecord():
                self._epochs[record.epoch] = record

    def finish(self) -> Changes:
        """Count what was gathered."""
        for batch in self._batches.values():
            batch.flush()
        for stream in list(self._gathered):
            self._collect(stream)
        return self._changes

    @property
    def touched(self) -> Collection[Stream]:
        """The streams whose windows changed."""
        return self._last.keys()

    def _add_request(self, request: Request) -> None:
        if request.status == "invalid" or not request.fingerprint:
            return
        answered = request.status == "ok" or request.status.startswith("fallback_")
        pairs = self._pairs(request) if request.reason in _SPLIT else ()
        if not answered and not pairs:
            return
        block = block_of(request, self._schemas.get(request.fingerprint), self._header)
        moment = datetime.fromisoformat(request.ts).timestamp()
        if answered:
            self._add_alone(request, block, moment)
        if pairs:
            if not answered or request.branch != request.assigned:
                # The arm did not answer: only what it was asked is the split's doing.
                block = block._replace(predictions=None, scores=None, latency_ms=None)
            for stream, side in pairs:
                bins = self._bins_of_pair(stream)
                if bins is not None:
                    self._count(stream, side, moment, block, bins)

    # A branch by itself

    def _add_alone(self, request: Request, block: Block, moment: float) -> None:
        branch = Branch(request.branch)
        stream = Stream("branch", branch, request.fingerprint)
        book = self._book
        if stream not in self._settled:
            self._settle(stream, request)
        series = book.series_of(stream)
        series.commit = request.commit
        book.newest[branch] = request.fingerprint
        book.rows[branch] = book.rows.get(branch, 0) + request.rows
        bins = book.references.bins(str(stream))
        needed = book.references.collects(str(stream))
        if needed > 0:
            gathered = self._gathered.setdefault(stream, [])
            gathered.append(block)
            if sum(one.rows for one in gathered) >= needed:
                self._collect(stream, request.ts)
        if bins is not None:
            self._count(stream, ALONE, moment, block, bins)

    def _settle(self, stream: Stream, request: Request) -> None:
        self._settled.add(stream)
        commit = Commit(request.commit)
        tip = self._tips.get((stream.branch, stream.content), commit)
        schema = self._schemas.get(request.fingerprint)
        columns = schema.columns if schema is not None else None
        place = Place(stream.branch, stream.content, commit, tip, columns)
        self._changes |= self._book.references.settle(str(stream), place, self._wanted)

    def _collect(self, stream: Stream, ts: str = "") -> None:
        blocks = self._gathered.pop(stream)
        self._changes |= self._book.references.collect(
            str(stream), str(self._header.key), blocks, self._header.redact, ts
        )

    # Arms beside one another

    def _pairs(self, request: Request) -> tuple[tuple[Stream, str], ...]:
        """The comparisons that a request counts in, and on which side."""
        epoch = self._epochs.get(request.epoch)
        if epoch is None or self._baseline not in epoch.weights:
            return ()
        if request.assigned != self._baseline:
            if request.assigned not in epoch.weights:
                return ()
            return ((self._pair(request.epoch, request.assigned), ARM),)
        arms = (arm for arm in epoch.weights if arm != self._baseline)
        return tuple((self._pair(request.epoch, arm), BASELINE) for arm in arms)

    def _pair(self, epoch: str, arm: str) -> Stream:
        return Stream("pair", Branch(arm), epoch, self._baseline)

    def _bins_of_pair(self, stream: Stream) -> Bins | None:
        """Both arms are counted by the baseline's reference."""
        fingerprint = self._epochs[stream.content].fingerprints.get(str(stream.baseline))
        if fingerprint is None or stream.baseline is None:
            return None
        alone = Stream("branch", stream.baseline, fingerprint)
        return self._book.references.bins(str(alone))

    # Counting

    def _count(self, stream: Stream, side: str, moment: float, block: Block, bins: Bins) -> None:
        part = self._last.get(stream)
        if part is None or not part.start <= moment < part.end:
            series = self._book.series_of(stream)
            part = series.part_of(moment) or series.begin(moment, self._terms, bins)
            self._last[stream] = part
        key = (stream, part.start, side)
        batch = self._batches.get(key)
        if batch is None:
            names = [name for name in part.bins.columns if name not in DERIVED]
            header = self._header
            batch = self._batches[key] = Batch(part.side(side), names, header.redact, header.writer)
        batch.add(block)


def served_tips(settings: MonitorSettings) -> Mapping[tuple[Branch, str], Commit]:
    """The newest tip with each content that a branch serves, as the front wrote it down."""
    try:
        found = json.loads((settings.state_dir / "served.json").read_text())
        return {
            (Branch(name), one["fingerprint"]): Commit(one["tip"]) for name, one in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
