"""What experiments come to, shown and acted upon: read-outs, orders for the split, decisions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from gateway.access.audit import audit
from gateway.access.keys_file import LOCAL
from gateway.commands_folder import done, waiting
from gateway.experiments.allocation import ALLOCATION_FILE, Order, Orders, in_force
from gateway.experiments.document import (
    EXPERIMENT_FILE,
    BranchAllocation,
    ContrastReadout,
    ExperimentReadout,
    Feedback,
)
from gateway.experiments.document import encode as encode_readout
from gateway.experiments.evidence import Evidence, Terms
from gateway.experiments.facts import Decided, Steered
from gateway.experiments.memory import Memory, decode, encode
from gateway.experiments.readout import read_out
from gateway.experiments.steering import steer
from gateway.monitoring.experiments.book import Book
from gateway.monitoring.experiments.observing import Serving, facts_of, is_served
from gateway.monitoring.experiments.outgoing import decision_line
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.names import Branch
from gateway.state import write_atomically
from gateway.store.ledger import Ledger, Line
from gateway.timestamps import rfc3339

log = logging.getLogger(__name__)

_STEERING = ("experiment", "steering")
#: Decisions that somebody should look after.
_BAD_NEWS = ("guardrail_breached", "ramp_held")
#: Contrasts of former contents that are shown.
_MOST_STALE = 10
#: Seconds between two looks at least, and how much longer a look may rest than it takes.
_EVERY, _REST = 0.5, 4.0
#: Seconds between two read-outs of nothing but more units.
_REFRESHED_EVERY = 5.0


class Showing:
    """Keeps the read-outs that are shown, and what was decided by them."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._next = self._refresh = 0.0
        self._readouts: dict[str, ContrastReadout] = {}
        self._under: dict[str, tuple[Terms, bool]] = {}
        self._memory: Memory | None = None
        self._written: dict[Path, bytes] = {}

    def show(
        self,
        book: Book,
        settings: MonitorSettings,
        terms: Callable[[str], Terms],
        serving: Mapping[Branch, Serving],
        now: float,
    ) -> None:
        """Look again, if it is time: what is to be decided is, and both files say how it stands.

        `terms` are those of a contrast.
        """
        began = self._clock()
        if began < self._next:
            return
        self._read_out(book, terms, serving)
        steered = self._steer(book, settings, serving, now)
        orders = Orders(branches=steered.orders)
        self._say(settings.state_dir / ALLOCATION_FILE, msgspec.json.encode(orders, enc_hook=str))
        self._say(
            settings.state_dir / EXPERIMENT_FILE,
            self._document(book, settings, steered.orders, serving, now),
        )
        for command in steered.taken:
            done(settings.state_dir, command)
            if command.by == LOCAL:  # whoever asked over HTTP is in the front's audit
                audit(
                    command.action,
                    who=LOCAL,
                    address=LOCAL,
                    result="in_force",
                    branch=command.branch,
                    say=command.reason,
                )
        took = self._clock() - began
        self._next = self._clock() + max(_EVERY, _REST * took)

    def hurry(self) -> None:
        """Look at the next turn, whatever the time."""
        self._next = self._refresh = 0.0

    def forget(self) -> None:
        """The book is opened anew."""
        self._readouts, self._under, self._memory = {}, {}, None

    def _read_out(
        self, book: Book, terms: Callable[[str], Terms], serving: Mapping[Branch, Serving]
    ) -> None:
        """Of those contrasts of which there is more to say; what only arrived may wait a little."""
        contrasts = set(book.known.contrasts)
        news = book.urgent & contrasts
        if self._clock() >= self._refresh:
            news |= book.changed & contrasts
            self._refresh = self._clock() + _REFRESHED_EVERY
        for name in contrasts:
            under = (terms(name), is_served(book.known.contrasts[name], serving))
            if name in news or self._under.get(name) != under:
                self._under[name] = under
                self._readouts[name] = read_out(
                    self._evidence(book, name, current=under[1]), under[0]
                )
                book.changed.discard(name)
        book.urgent.clear()
        for name in self._readouts.keys() - contrasts:
            del self._readouts[name], self._under[name]

    def _evidence(self, book: Book, name: str, *, current: bool) -> Evidence:
        written, live = {}, {}
        for key, before, fresh in self._ledger.cells(name):
            if before is not None:
                written[key] = before
            if fresh is not None:
                live[key] = fresh
        return book.evidence(name, written, live, current=current)

    def _steer(
        self,
        book: Book,
        settings: MonitorSettings,
        serving: Mapping[Branch, Serving],
        now: float,
    ) -> Steered:
        memory = self._remembered()
        commands = tuple(waiting(settings.state_dir))
        current = [one for one in self._readouts.values() if one.current and not one.shadow]
        facts = facts_of(book, settings, memory, current, serving, commands, now)
        steered = steer(memory, facts)
        if steered.memory != memory or steered.decisions:
            lines = [_line(one, now) for one in steered.decisions]
            with self._ledger.whole():
                self._ledger.remember({_STEERING: encode(steered.memory)})
                self._ledger.add_lines(lines)
            for one in steered.decisions:
                extra = {"branch": one.branch, "commit": one.commit}
                level = logging.WARNING if one.decision in _BAD_NEWS else logging.INFO
                log.log(level, "%s: %s", one.decision, one.reason, extra=extra)
        self._memory = steered.memory
        return steered

    def _remembered(self) -> Memory:
        if self._memory is None:
            said = self._ledger.recall(_STEERING[0]).get(_STEERING[1])
            self._memory = decode(said) if said is not None else Memory()
        return self._memory

    def _document(
        self,
        book: Book,
        settings: MonitorSettings,
        orders: Mapping[str, Order],
        serving: Mapping[Branch, Serving],
        now: float,
    ) -> bytes:
        ordered = sorted(self._readouts.values(), key=lambda one: (one.current, one.until))[::-1]
        stale = [one for one in ordered if not one.current][:_MOST_STALE]
        state = book.state
        configured = {
            Branch(name): one.configured for name, one in settings.experiment.branches.items()
        }
        served = {branch: one.fingerprint for branch, one in serving.items()}
        return encode_readout(
            ExperimentReadout(
                written=rfc3339(now),
                baseline=settings.baseline or "",
                salt=settings.experiment.salt,
                epoch=state.epoch,
                contrasts=(*(one for one in ordered if one.current), *stale),
                feedback=Feedback(**state.feedback),
                excluded=state.excluded,
                allocation={
                    str(branch): BranchAllocation(one.state, one.share, one.reason, one.since)
                    for branch, one in in_force(orders, configured, served).items()
                },
            )
        )

    def _say(self, path: Path, content: bytes) -> None:
        """Write it where it is another than before, but for when it was written."""
        told = content.partition(b'"baseline"')[2] if path.name == EXPERIMENT_FILE else content
        if self._written.get(path) != told:
            write_atomically(path, content)
            self._written[path] = told


def _line(one: Decided, now: float) -> Line:
    return decision_line(now, one.branch, one.commit, one.decision, one.reason, one.evidence)
