"""The journal becomes cells: each record is taken once, whatever is killed meanwhile.

A piece of a chunk, with all that it changed and how far it reaches, is one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from gateway.chunks import BEFORE_HEADER, ChunkKey, EpochRecord, Outcome
from gateway.monitoring.experiments.book import Book
from gateway.monitoring.experiments.joining import Joining
from gateway.monitoring.experiments.tail import Answered, Journaled, Piece, Read, journaled, pieces
from gateway.monitoring.experiments.tally import Rules, Sets, Tally
from gateway.store.ledger import PART, Ledger

log = logging.getLogger(__name__)


class Reading:
    """One look at the journal, at Unix time `now`. `rules` say what is counted."""

    def __init__(self, book: Book, ledger: Ledger, rules: Rules, sets: Sets, now: float) -> None:
        self._book = book
        self._ledger = ledger
        self._rules = rules
        self._sets = sets
        self._now = now

    def read(self, journal: Path, stop: Callable[[], bool]) -> bool:
        """Take what is new, until `stop`; whether that was all, so that time moves on."""
        is_all = True
        for chunk in journaled(journal):
            if self._ledger.has(chunk.key, PART):
                # Also one that is open: of a Redis that was emptied, it comes again in parts.
                continue
            try:
                is_all &= self._read_chunk(chunk, stop)
            except FileNotFoundError:
                # Sealed, or taken away for room, since the look.
                is_all = False
            if stop():
                return False
        if is_all:
            # What is written from now on is younger, but for what was under way. It goes back with
            # the clock: one that was ahead for a moment must not make all be written at once.
            self._book.state.watermark = self._now - BEFORE_HEADER
            self._retry()
        return is_all

    def _read_chunk(self, chunk: Journaled, stop: Callable[[], bool]) -> bool:
        place = self._ledger.place_of(chunk.key)
        if not chunk.sealed and chunk.path.stat().st_size <= place:
            return True
        for piece in pieces(chunk, place):
            is_done = piece.is_last and chunk.sealed
            if piece.records or is_done or piece.end != place:
                self._take(chunk.key, piece, is_done)
            if stop():
                return piece.is_last
        return True

    def _take(self, key: ChunkKey, piece: Piece, is_done: bool) -> None:
        with self._ledger.whole():
            answered = self._book.answered_in(key.writer)
            for batch in _batches(piece.records):
                self._take_batch(batch, answered)
            self._book.note_answered(key.writer, answered)
            if is_done:
                self._ledger.finish(key)
            else:
                self._ledger.set_place(key, piece.end)
            self._thin()
            self._book.save(self._ledger)

    def _take_batch(self, records: list[Read], answered: set[str]) -> None:
        """Requests of one epoch, or outcomes, or descriptions of epochs."""
        if isinstance(records[0], EpochRecord):
            for record in records:
                assert isinstance(record, EpochRecord)
                self._book.known.describe(record)
        elif isinstance(records[0], Answered):
            self._take_requests(records, answered)
        else:
            joining = self._joining()
            for record in records:
                assert isinstance(record, Outcome)
                joining.take(record)
            self._settle(joining)

    def _take_requests(self, records: list[Read], answered: set[str]) -> None:
        book, state = self._book, self._book.state
        tally = Tally(book.known, self._rules, self._sets, answered)
        for record in records:
            assert isinstance(record, Answered)
            tally.add(record)
        state.epoch = tally.epoch
        self._ledger.add_exposures(tally.exposures)
        self._ledger.add_shadow_answers(tally.shadows)
        state.indexed += len(tally.exposures) + len(tally.shadows)
        book.count(state.excluded, tally.excluded)
        book.add(tally.settle())
        if tally.shadows:
            joining = self._joining()
            for request_id, place, answers in tally.shadows:
                joining.shadowed(request_id, place, answers)
            self._settle(joining)

    def _retry(self) -> None:
        if not self._ledger.has_waiting():
            return
        with self._ledger.whole():
            joining = self._joining()
            joining.retry(round(self._book.state.watermark * 1000))
            self._settle(joining)
            self._book.save(self._ledger)

    def _joining(self) -> Joining:
        return Joining(self._ledger, self._book.known, self._rules, self._sets)

    def _settle(self, joining: Joining) -> None:
        self._book.state.indexed += joining.kept
        self._ledger.add_lines(joining.lines)
        self._book.count(self._book.state.feedback, joining.counts)
        self._book.add(joining.cells)

    def _thin(self) -> None:
        """Keep the index within its bound."""
        state = self._book.state
        state.indexed += self._sets.added
        self._sets.added = 0
        if self._book.thin(self._ledger, self._now):
            self._sets.forget()
            self._rules = replace(self._rules, kept=state.kept)
            log.warning("experiments keep %d of 256 parts of the units from now on", state.kept)


def _batches(records: Iterable[Read]) -> Iterator[list[Read]]:
    """Neighbours that are taken together: of one kind and, of requests, of one epoch."""

    def kind(record: Read) -> tuple[str, str]:
        return type(record).__name__, record.epoch if isinstance(record, Answered) else ""

    for _, found in groupby(records, key=kind):
        yield list(found)
