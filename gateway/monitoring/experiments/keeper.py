"""The keeper of experiments: reads, joins, writes down, decides and shows, turn by turn.

In a thread of the monitor's process with a connection of its own to the store: it touches nothing
but the local disk, so that no git server or drift keeps a failing branch its users.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf

from gateway.errors import StateError
from gateway.monitoring.commits import is_older
from gateway.monitoring.experiments.book import Book
from gateway.monitoring.experiments.observing import serving_in
from gateway.monitoring.experiments.outgoing import flush, write_mature
from gateway.monitoring.experiments.reading import Reading
from gateway.monitoring.experiments.showing import Showing
from gateway.monitoring.experiments.tally import Sets
from gateway.monitoring.experiments.terms import agree, rules_of, terms_for, terms_of
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.store.ledger import Ledger

log = logging.getLogger(__name__)

#: Seconds between two looks at what is to be forgotten.
_FORGETS_EVERY = 60.0
#: Seconds of a turn that are read for, a little more or less.
_READS_FOR = 2.0
#: Outcomes are told as late or double for so long after their window.
_GRACE = 3600.0


class Experiments:
    """All experiments of one gateway. Used by one thread."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
        until: Callable[[], float] = lambda: inf,
    ) -> None:
        """`now` is Unix time, `clock` never goes back; rows before `until` are in the journal."""
        self._until = until
        self._ledger = ledger
        self._now = now
        self._clock = clock
        self._opened: Book | None = None
        self._sets = Sets(ledger)
        self._showing = Showing(ledger, clock)
        self._flushed = clock()
        self._forgot = -_FORGETS_EVERY
        self.trouble: str | None = None

    def step(self, settings: MonitorSettings, stop: Callable[[], bool]) -> bool:
        """One turn; whether everything was read. Raises StateError or OSError, and goes on then.

        Reading ends at `stop`, and after a while: what was read is to be acted upon.
        """
        try:
            is_all = self._step(settings, stop)
        except BaseException:
            # What is in memory may say more than the ledger.
            self._opened = None
            self._sets.forget()
            self._showing.forget()
            raise
        return is_all

    def finish(self, settings: MonitorSettings, stop: Callable[[], bool]) -> None:
        """The last turns: everything that can be written is handed over."""
        while not self.step(settings, stop) and not stop():
            pass
        self._flushed = self._clock() - settings.monitoring.flush
        self._showing.hurry()
        self.step(settings, stop)

    def _step(self, settings: MonitorSettings, stop: Callable[[], bool]) -> bool:
        book, now = self._book(), self._now()
        rules = settings.experiment
        serving = serving_in(settings.home)
        if agree(rules, book, self._ledger, serving, now):
            self._sets.forget()
        counted = rules_of(rules, book, serving, now)
        reading = Reading(book, self._ledger, counted, self._sets, min(now, self._until()))
        until = self._clock() + _READS_FOR
        is_all = reading.read(
            settings.state_dir / "journal", lambda: stop() or self._clock() >= until
        )
        is_due = self._clock() >= self._flushed + settings.monitoring.flush
        terms = partial(terms_for, terms=terms_of(rules, book), book=book, serving=serving)
        write_mature(book, self._ledger, terms, book.state.watermark, all_=is_due)
        self._showing.show(book, settings, terms, serving, now)
        if is_due:
            while flush(book, self._ledger, now):
                pass
            self._flushed = self._clock()
        self._forget(book, settings, now)
        return is_all

    def _book(self) -> Book:
        if self._opened is None:
            try:
                self._opened = Book(self._ledger)
            except (StateError, OSError):
                raise
            except Exception:
                # Such as what a later version left. The journal is to be read all the same.
                log.exception("what was remembered of experiments cannot be read: begun anew")
                self._ledger.forget_experiments()
                self._sets.forget()
                self._opened = Book(self._ledger)
        return self._opened

    def _forget(self, book: Book, settings: MonitorSettings, now: float) -> None:
        """What nothing can come of any more, and what is older than the rows in git."""
        if self._clock() < self._forgot + _FORGETS_EVERY:
            return
        self._forgot = self._clock()
        longest = max((one.window for one in settings.experiment.metrics), default=0.0)
        with self._ledger.whole():
            gone = self._ledger.forget_exposures(round((now - longest - _GRACE) * 1000))
            book.state.indexed = max(0, book.state.indexed - gone)
            book.make_room_again(self._ledger, now, longest + _GRACE)
            today = datetime.fromtimestamp(now, UTC)
            # Units have to be there as long as what is still awaited of them.
            kept = max(settings.retention, timedelta(seconds=2 * longest))
            oldest = _first_kept(today, kept)
            if self._ledger.forget_cells("stop < ? AND fresh IS NULL", oldest.timestamp()):
                self._opened = None
            for name, known in list(book.known.contrasts.items()):
                if known.last < oldest.timestamp():
                    book.forget_contrast(self._ledger, name)
                    self._sets.forget()
            book.save(self._ledger)


def _first_kept(now: datetime, retention: timedelta) -> datetime:
    """The beginning of the first day whose segments are on the tip still."""
    day = (now - retention).date()
    while is_older(day, now, retention):
        day += timedelta(days=1)
    return datetime.combine(day, datetime.min.time(), UTC)
