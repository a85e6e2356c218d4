"""One chunk being taken: each request goes to its stream's window, and to that of its pair."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gateway.assignment import OVERRIDE
from gateway.chunks import EpochRecord, Header, Record, Request, Schema
from gateway.monitoring.drift.blocks import Batch, Block, block_of
from gateway.monitoring.drift.book import Book
from gateway.monitoring.drift.references import Changes, Place
from gateway.monitoring.drift.series import Part, Series, Terms
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
        #: By branch and fingerprint.
        self._alone: dict[tuple[str, str], _Alone] = {}
        #: By epoch and assigned arm.
        self._paired: dict[tuple[str, str], tuple[_Target, ...]] = {}
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
        for target in self._targets():
            target.finish()
        for alone in self._alone.values():
            if alone.gathered:
                self._collect(alone, "")
        return self._changes

    @property
    def touched(self) -> set[Stream]:
        """The streams whose windows changed."""
        return {target.stream for target in self._targets() if target.stream in self._book.series}

    def _targets(self) -> list[_Target]:
        alone = [one.target for one in self._alone.values()]
        return alone + [target for targets in self._paired.values() for target in targets]

    def _add_request(self, request: Request) -> None:
        if request.status == "invalid" or not request.fingerprint:
            return
        if request.reason == OVERRIDE:
            return  # what somebody tries a branch with is not what its users send
        answered = request.status == "ok" or request.status.startswith("fallback_")
        if not answered and request.reason not in _SPLIT:
            return
        block = block_of(request, self._schemas.get(request.fingerprint), self._header)
        moment = datetime.fromisoformat(request.ts).timestamp()
        if answered:
            self._add_alone(request, block, moment)
        pairs = self._pairs(request) if request.reason in _SPLIT else ()
        if not answered or request.branch != request.assigned:
            # The arm did not answer: only what it was asked is the split's doing.
            block = block._replace(predictions=None, scores=None, latency_ms=None)
        for target in pairs:
            target.count(moment, block)

    # A branch by itself

    def _add_alone(self, request: Request, block: Block, moment: float) -> None:
        alone = self._alone.get((request.branch, request.fingerprint))
        if alone is None:
            alone = self._settled(request)
            self._alone[request.branch, request.fingerprint] = alone
        book, name = self._book, request.branch
        alone.target.series.commit = request.commit
        book.newest[alone.target.stream.branch] = request.fingerprint
        book.rows[name] = book.rows.get(name, 0) + request.rows
        counts = alone.target.bins is not None
        if alone.needed > 0:
            alone.gathered.append(block)
            alone.needed -= block.rows
            if alone.needed <= 0:
                self._collect(alone, request.ts)
        if counts:
            alone.target.count(moment, block)

    def _settled(self, request: Request) -> _Alone:
        stream = Stream("branch", Branch(request.branch), request.fingerprint)
        references = self._book.references
        commit = Commit(request.commit)
        tip = self._tips.get((stream.branch, stream.content), commit)
        schema = self._schemas.get(request.fingerprint)
        columns = schema.columns if schema is not None else None
        place = Place(stream.branch, stream.content, commit, tip, columns, self._header.redact)
        self._changes |= references.settle(str(stream), place, self._wanted)
        target = self._target(stream, ALONE, references.bins(str(stream)))
        return _Alone(target, references.collects(str(stream)))

    def _collect(self, alone: _Alone, ts: str) -> None:
        name, references = str(alone.target.stream), self._book.references
        hidden = self._header.redact
        self._changes |= references.collect(name, str(self._header.key), alone.gathered, hidden, ts)
        alone.gathered = []
        alone.target.bins = references.bins(name)

    # Arms beside one another

    def _pairs(self, request: Request) -> tuple[_Target, ...]:
        """The comparisons that a request counts in."""
        known = self._paired.get((request.epoch, request.assigned))
        if known is None:
            known = tuple(self._new_pairs(request.epoch, request.assigned))
            if known:
                # Else the baseline may have its reference by the next request.
                self._paired[request.epoch, request.assigned] = known
        return known

    def _new_pairs(self, name: str, assigned: str) -> Iterator[_Target]:
        """Both arms are counted by the baseline's reference, if there is one by now."""
        epoch, baseline = self._epochs.get(name), self._baseline
        if epoch is None or baseline is None or not {baseline, assigned} <= epoch.weights.keys():
            return
        alone = Stream("branch", baseline, epoch.fingerprints.get(baseline) or "")
        bins = self._book.references.bins(str(alone))
        if bins is None:
            return
        arms = [assigned] if assigned != baseline else [a for a in epoch.weights if a != baseline]
        side = ARM if assigned != baseline else BASELINE
        for arm in arms:
            target = self._target(Stream("pair", Branch(arm), name, baseline), side, bins)
            target.series.beside = alone.content
            yield target

    def _target(self, stream: Stream, side: str, bins: Bins | None) -> _Target:
        series = self._book.series_of(stream)
        series.latest = max(series.latest, self._header.time.timestamp())
        return _Target(series, stream, side, bins, self._terms, self._header)


class _Target:
    """Where rows of a stream are counted: whichever of its windows they belong to."""

    def __init__(
        self,
        series: Series,
        stream: Stream,
        side: str,
        bins: Bins | None,
        terms: Terms,
        header: Header,
    ) -> None:
        """`bins` are those of windows that are begun; until there are any, nothing is counted."""
        self.series = series
        self.stream = stream
        self.bins = bins
        self._side = side
        self._terms = terms
        self._header = header
        self._part: Part | None = None
        self._batch: Batch | None = None

    def count(self, moment: float, block: Block) -> None:
        part = self._part
        if part is None or self._batch is None or not part.start <= moment < part.end:
            self._batch = self._turned(moment)
        self._batch.add(block)

    def finish(self) -> None:
        if self._batch is not None:
            self._batch.flush()

    def _turned(self, moment: float) -> Batch:
        """To the window of this moment."""
        assert self.bins is not None
        part = self.series.part_of(moment) or self.series.begin(moment, self._terms, self.bins)
        if part is self._part and self._batch is not None:
            return self._batch
        self.finish()
        self._part = part
        names = [name for name in part.bins.columns if name not in DERIVED]
        return Batch(part.side(self._side), names, self._header.redact, self._header.writer)


@dataclass(slots=True)
class _Alone:
    """A branch's own rows: counted, and as long as its reference `needed` rows, kept for that."""

    target: _Target
    needed: int
    gathered: list[Block] = field(default_factory=list)


def served_tips(settings: MonitorSettings) -> Mapping[tuple[Branch, str], Commit]:
    """The newest tip with each content that a branch serves, as the front wrote it down."""
    try:
        found = json.loads((settings.home / "served.json").read_text())
        return {
            (Branch(name), one["fingerprint"]): Commit(one["tip"]) for name, one in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
