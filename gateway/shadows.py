"""Shadow branches: copies of answered requests, computed, recorded and compared; never answered.

Owns what a shadow may hold and what becomes of its copies. Nothing here is on the way of a user's
answer: that has been handed over before a copy is made, and whatever befalls one stays here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

from gateway.agreement import Agreement, Figures, Pair, Said, compared
from gateway.assignment import OVERRIDE
from gateway.config import BranchConfig, Config
from gateway.errors import (
    DeadlineExceeded,
    GatewayError,
    InvalidInstances,
    ModelError,
    NeverTaken,
    NotReady,
    Overloaded,
)
from gateway.metrics import COPIES, DROPPED_COPIES, Metrics
from gateway.monitoring.sampling import rank
from gateway.names import Branch
from gateway.recording import LOG_LINES, Exchange, Recorder
from gateway.routing import Assignment
from gateway.timestamps import rfc3339
from gateway.workers.fleet import Fleet
from gateway.workers.jobs import Answer, Job, Serving
from gateway.workers.slot import Slot

log = logging.getLogger(__name__)

#: Seconds for which answered requests gather: their answers are on the wire by then, and a shadow
#: gets them in fewer frames.
_GATHER = 0.005
#: What the copies of one shadow may hold, as its rows do, whatever their size.
_MOST_BYTES = 16 * 1024**2
#: `rank` is below it.
_RANKS = 2**128

#: What a copy that a worker was given ends as, but for "ok".
_STATUSES: tuple[tuple[type[GatewayError], str], ...] = (
    (InvalidInstances, "invalid"),
    (DeadlineExceeded, "timeout"),
    (GatewayError, "error"),
)
#: Why a copy was never computed. It leaves no row: that would say nothing of the branch.
_DROPPED: tuple[tuple[type[GatewayError], str], ...] = (
    (NotReady, "not_ready"),
    (Overloaded, "overload"),
    (NeverTaken, "late"),
)


class Shadow:
    """One shadow branch: what it holds, and what came of its copies."""

    def __init__(self, branch: Branch, rooms: Shadows) -> None:
        self.branch = branch
        self.ended = dict.fromkeys(COPIES, 0)
        self.dropped = dict.fromkeys(DROPPED_COPIES, 0)
        self.rows = 0
        self._bytes = 0
        self._held: set[Copy] = set()
        self._said = (0, 0)
        self._rooms = rooms
        self._metrics = rooms.metrics.branch(branch)
        self.config: BranchConfig

    def take(self, exchange: Exchange, answer: Answer) -> None:
        """Copy an answered request, if it falls to this branch and there is room for it."""
        config = self.config
        if answer.serving.branch == self.branch:
            return  # it has just become a shadow, and answered a last user
        if config.shadow_share < 1.0 and not _falls(exchange.request_id, config.shadow_share):
            return
        rows = exchange.rows
        size = len(exchange.payload) + len(answer.predictions) + len(answer.probabilities)
        full = self.rows + rows > config.shadow_rows or self._bytes + size > _MOST_BYTES
        if full and self._held:  # one by itself may be larger than the bound
            self._drop("overload", rows)
            return
        try:
            slot = self._rooms.fleet.slot(self.branch)
        except KeyError:  # it has just been taken out
            slot = None
        if slot is None or not slot.ready:
            self._drop("not_ready", rows)
            return
        copy = Copy(self, exchange, answer, size, slot)
        self._held.add(copy)
        self.rows += rows
        self._bytes += size
        deadline = slot.now() + config.timeout
        try:
            slot.submit(Job(exchange.payload, rows, deadline, copy.exchange, copy))
        except GatewayError as error:
            copy.set_exception(error)

    def answered(self, copy: Copy, answer: Answer) -> None:
        self._let_go(copy)
        self._count("ok")
        self._rooms.compare(copy, answer)

    def failed(self, copy: Copy, error: GatewayError) -> None:
        """A row like any branch's if it was computed, else only counted."""
        self._let_go(copy)
        reason = _word(error, _DROPPED)
        if reason is not None:
            self._drop(reason, copy.exchange.rows)
            return
        status = _word(error, _STATUSES) or "error"
        serving = copy.slot.serving
        recorder, exchange = self._rooms.recorder, copy.exchange
        recorder.failed(exchange, serving, status, error.message)
        self._count(status)
        if isinstance(error, ModelError) and self._may_say():
            commit = serving.commit if serving is not None else ""
            recorder.logged(
                self.branch, commit, "error", "predict", error.message, exchange.request_id
            )

    def end(self) -> None:
        """Give up what is under way: users may come to this branch now, or the gateway ends."""
        for copy in list(self._held):
            copy.give_up()
            self._let_go(copy)
            self._drop("ended", copy.exchange.rows)

    def _may_say(self) -> bool:
        """As many lines a minute as are recorded: saying each would cost the users' time."""
        minute = int(time.monotonic() // 60)
        known, lines = self._said
        self._said = (minute, lines + 1 if known == minute else 1)
        return self._said[1] <= LOG_LINES

    def _let_go(self, copy: Copy) -> None:
        self._held.discard(copy)
        self.rows -= copy.exchange.rows
        self._bytes -= copy.size

    def _count(self, status: str) -> None:
        self.ended[status] += 1
        self._metrics.copies[status].inc()

    def _drop(self, reason: str, rows: int) -> None:
        self.dropped[reason] += rows
        self._metrics.dropped_copies[reason].inc(rows)


class Copy:
    """A request on its way to a shadow: what its job settles. `exchange` is what is recorded."""

    __slots__ = ("_done", "_shadow", "exchange", "served", "size", "slot")

    def __init__(
        self, shadow: Shadow, exchange: Exchange, served: Answer, size: int, slot: Slot
    ) -> None:
        of = exchange.assignment
        share = shadow.config.shadow_share
        self.exchange = Exchange(
            exchange.request_id,
            Assignment(shadow.branch, of.unit, "shadow", share, of.epoch),
            exchange.payload,
            exchange.rows,
            time.perf_counter(),
        )
        self.served = served
        self.size = size
        self.slot = slot
        self._shadow = shadow
        self._done = False

    def done(self) -> bool:
        return self._done

    def give_up(self) -> None:
        """Its job, done, is computed no more if it still waits; an answer to it is not recorded."""
        self._done = True

    def set_result(self, answer: Answer) -> None:
        self._done = True
        try:
            self._shadow.answered(self, answer)
        except Exception:
            self._defect()

    def set_exception(self, error: GatewayError) -> None:
        self._done = True
        try:
            self._shadow.failed(self, error)
        except Exception:
            self._defect()

    def _defect(self) -> None:
        """What goes wrong here must not reach the slot, which may serve users too."""
        log.exception("unexpected error in a shadow", extra={"branch": self._shadow.branch})


class Shadows:
    """Hands copies out to every shadow branch, and knows how far each agrees with the others.

    To be built where an event loop runs.
    """

    def __init__(self, fleet: Fleet, recorder: Recorder, metrics: Metrics) -> None:
        self.fleet = fleet
        self.recorder = recorder
        self.metrics = metrics
        self._agreement = Agreement()
        self._shadows: dict[Branch, Shadow] = {}
        self._gathered: list[tuple[Exchange, Answer]] = []
        self._branches: list[Branch] = []
        self._loop = asyncio.get_running_loop()

    def configure(self, config: Config) -> None:
        """Put in force who is a shadow; the copies that one held which is none now are given up."""
        self._branches = list(config.branches)
        known, self._shadows = self._shadows, {}
        for branch, settings in config.shadows.items():
            shadow = self._shadows[branch] = known.get(branch) or Shadow(branch, self)
            shadow.config = settings
        for branch in known.keys() - self._shadows.keys():
            known[branch].end()

    def offer(self, exchange: Exchange, answer: Answer) -> None:
        """Remember a request whose answer has been handed over; its copies are made later.

        None are made of one that is no user's: what branches answer to users is compared.
        """
        if exchange.assignment.reason in ("excluded", OVERRIDE):
            return
        if not self._gathered:
            self._loop.call_later(_GATHER, self._hand_out)
        self._gathered.append((exchange, answer))

    def _hand_out(self) -> None:
        gathered, self._gathered = self._gathered, []
        for shadow in self._shadows.values():
            for exchange, answer in gathered:
                shadow.take(exchange, answer)

    def compare(self, copy: Copy, answer: Answer) -> None:
        served, mine = copy.served.serving, answer.serving
        found = compared(copy.exchange.rows, _said(copy.served), _said(answer))
        pair = Pair(mine.branch, mine.fingerprint, served.branch, served.fingerprint)
        self._agreement.add(pair, found, time.time())

    def status(self, branch: Branch) -> dict[str, Any] | None:
        """What people are shown of a shadow; None for any other branch."""
        shadow = self._shadows.get(branch)
        if shadow is None:
            return None
        return {
            "share": shadow.config.shadow_share,
            "rows": shadow.rows,
            "most_rows": shadow.config.shadow_rows,
            "requests": shadow.ended,
            "dropped_rows": shadow.dropped,
            "agreement": [
                {
                    "branch": pair.served,
                    "fingerprint": pair.served_fingerprint,
                    "since": rfc3339(figures.since),
                    "rows": figures.rows,
                    "equal_rows": figures.equal,
                    "equal_share": figures.equal_share,
                    "scored_rows": figures.scored,
                    "score_difference": figures.score_difference,
                }
                for pair, figures in self._present(branch)
            ],
        }

    def gauge(self) -> None:
        """Show the present agreement in the metrics."""
        metrics = self.metrics
        families = (metrics.shadow_compared, metrics.shadow_agreement, metrics.shadow_difference)
        for family in families:
            family.clear()
        for branch in self._shadows:
            for pair, figures in self._present(branch):
                values = (figures.rows, figures.equal_share, figures.score_difference)
                for family, value in zip(families, values, strict=True):
                    if value is not None:
                        family.labels(branch, pair.served).set(value)

    def close(self) -> None:
        """Make no more copies, and wait for none: the end of the gateway is not theirs to delay."""
        for shadow in self._shadows.values():
            shadow.end()
        self._shadows = {}

    def _present(self, shadow: Branch) -> Iterator[tuple[Pair, Figures]]:
        """The figures of what the shadow and the others serve now."""
        mine = self.serving(shadow)
        for branch in self._branches:
            its = self.serving(branch)
            if mine is None or its is None:
                continue
            pair = Pair(shadow, mine.fingerprint, branch, its.fingerprint)
            figures = self._agreement.of(pair)
            if figures is not None:
                yield pair, figures

    def serving(self, branch: Branch) -> Serving | None:
        """What the branch serves; None also where it has just been taken out."""
        try:
            return self.fleet.slot(branch).serving
        except KeyError:
            return None


def _said(answer: Answer) -> Said:
    return Said(answer.predictions, answer.probabilities, answer.serving.classes)


def _falls(request_id: str, share: float) -> bool:
    """By the rank that also decides which rows go into git: the pairs there are then complete."""
    return rank(request_id) < share * _RANKS


def _word(error: GatewayError, table: tuple[tuple[type[GatewayError], str], ...]) -> str | None:
    return next((word for family, word in table if isinstance(error, family)), None)
