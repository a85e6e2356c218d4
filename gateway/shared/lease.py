"""Who of the replicas publishes: taken, renewed, lost and given up, beside whatever work goes on.

Owns the lease and its thread, and what the other replicas say of themselves. The lease keeps two
from working at once as far as time can tell; what must never happen twice is refused by Redis,
which looks at the lease with each write, and by git, which compares before it swaps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from gateway.shared.door import SharedAway
from gateway.shared.held import Head, Lease
from gateway.shared.replica import Replica, decode, encode

log = logging.getLogger(__name__)

#: Seconds the lease lasts in Redis after each renewal.
LASTS = 5.0
#: Seconds before that by which its holder holds itself for none any more.
MARGIN = 1.0
EVERY = 1.0
#: Seconds without news after which a replica is dead: its word keeps nobody from leading.
DEAD_AFTER = 60.0
#: Seconds for which an emptied Redis is left to itself, so that everybody can say what he has.
GATHERING = 5.0
#: Seconds without news after which it is not listed any more.
FORGOTTEN_AFTER = 600.0
#: Seconds that one round of the holder may take; a stuck one must not keep the lease for ever.
PATIENCE = 600.0
#: Seconds that its thread has for its last turn.
_ENDING = 3.0
#: Where Redis is slow, only the lease is worth a call.
_SLOW = 0.5


class LeaseDoor(Protocol):
    """What of `Door` is needed here."""

    def take(self, holder: str, seconds: float) -> Lease | None: ...
    def renew(self, lease: Lease, seconds: float) -> bool: ...
    def give_up(self, lease: Lease) -> None: ...
    def holder(self) -> str | None: ...
    def head(self) -> Head | None: ...
    def announce(self, replica: str, words: bytes) -> None: ...
    def replicas(self) -> dict[str, bytes]: ...
    def forget_replica(self, replica: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Tenure:
    lease: Lease
    until: float


@dataclass(frozen=True, slots=True)
class _Heard:
    """The last words of a replica, and when they were new by this machine's clock."""

    name: str
    words: bytes
    at: float
    replica: Replica | None


def seconds_awake_or_not() -> float:
    """A clock that also goes on while the whole machine sleeps, where there is one."""
    boot: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Leadership:
    """One replica's part in it. `with` runs the thread, and gives the lease up at the end.

    The thread calls `turn` each second; `lease` may be asked for from any thread. Only who has the
    newest state may lead: that of Redis, or what a living replica says that it has, if that is
    newer, since Redis may have been emptied, or gone back to what it was. A holder that hears of
    newer state than its own steps down.
    """

    def __init__(
        self,
        door: LeaseDoor,
        replica: Callable[[], Replica],
        *,
        clock: Callable[[], float] = seconds_awake_or_not,
        lasts: float = LASTS,
        margin: float = MARGIN,
    ) -> None:
        """`replica` says how this one is now."""
        self._door = door
        self._replica = replica
        self._clock = clock
        self._lasts = lasts
        self._margin = margin
        self._guard = threading.Lock()
        self._tenure: _Tenure | None = None
        self._heard: dict[str, _Heard] = {}
        self._listed: frozenset[str] = frozenset()
        self._newest = 0
        self._awaited: dict[str, float] = {}
        self._given_way: dict[str, float] = {}
        self._empty_since: float | None = None
        self._worked = clock()
        self._not_before = 0.0
        self._finishing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        #: What Redis refuses, in words.
        self.trouble: str | None = None
        #: Who had the lease at the last look.
        self.holder: str | None = None
        #: What keeps this replica from leading though nobody does, in words.
        self.waits_for: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.finish()

    @property
    def lease(self) -> Lease | None:
        """What is held at this moment; None too if the process was frozen for as long as it lasts.

        To be asked for anew before anything that only the holder may do.
        """
        tenure = self._tenure
        return tenure.lease if tenure and self._clock() < tenure.until else None

    @property
    def others(self) -> list[Replica]:
        """The other replicas that live, as they said they are."""
        return [one.replica for one in self._living() if one.replica is not None]

    def lately(self, seconds: float) -> list[Replica]:
        """Of the others those that said something within so many seconds, and no more than `others`
        in any case.
        """
        now = self._clock()
        said = [one for one in self._living() if now - one.at <= seconds]
        return [one.replica for one in said if one.replica is not None]

    @property
    def newest(self) -> int:
        """The largest generation that was ever heard of another one's; what is pushed goes beyond.

        It may be of a replica that is gone, and comes back.
        """
        return self._newest

    @property
    def unreadable(self) -> list[str]:
        """Living replicas whose words this version cannot read."""
        return sorted(one.name for one in self._living() if one.replica is None)

    def worked(self) -> None:
        """The work goes on: who does not say so for long, holder or not, is not to lead."""
        self._worked = self._clock()

    def step_down(self, lease: Lease) -> None:
        """Give this lease up, if it is still held; never raises."""
        with self._guard:
            if self._tenure is None or self._tenure.lease != lease:
                return
            self._tenure = None
        self._empty_since = None
        # Who stepped down has to catch up first, and the others may be ready.
        self._not_before = self._clock() + 2 * EVERY
        try:
            self._door.give_up(lease)
        except SharedAway as error:
            log.warning("the lease could not be given up, and runs out by itself: %s", error)

    def finish(self) -> None:
        """End the thread, and let the next one take the lease at once."""
        self._finishing.set()
        if self._thread.is_alive():
            self._thread.join(_ENDING)
        tenure = self._tenure
        if tenure is not None:
            self.step_down(tenure.lease)
        try:
            self._door.forget_replica(self._replica().id)
        except SharedAway as error:
            log.warning("this replica stays listed for a while: %s", error)

    def turn(self) -> None:
        """Renew the lease or try to take it, and tell and hear how everybody is.

        What Redis refuses is `trouble`.
        """
        begun = self._clock()
        try:
            me = self._replica()
            tenure = self._tenure
            if tenure is not None:
                self._renew(tenure)
                if self._clock() - begun > _SLOW:
                    return
            self._door.announce(me.id, encode(me))
            self._hear(me)
            if self._tenure is None:
                self._try(me)
            self.trouble = None
        except SharedAway as error:
            self.trouble = str(error)
            self._empty_since = None

    def _run(self) -> None:
        while not self._finishing.is_set():
            try:
                self.turn()
            except Exception as error:
                # A defect of ours: the lease runs out, and another replica may do better.
                log.exception("the lease is not looked after")
                self.trouble = repr(error)
            self._finishing.wait(EVERY)

    def _renew(self, tenure: _Tenure) -> None:
        sent = self._clock()
        if sent - self._worked > PATIENCE:
            log.error("the holder's round does not end: the lease goes to another replica")
            self.step_down(tenure.lease)
            return
        # From before the call: Redis begins to count when it comes there, which is later. What ran
        # out is not renewed: a Redis that went back may not know of who led since.
        is_held = sent < tenure.until + self._margin and self._door.renew(tenure.lease, self._lasts)
        with self._guard:
            if self._tenure is not tenure:
                return
            self._tenure = self._until(tenure.lease, sent) if is_held else None
        if not is_held:
            self._empty_since = None
            log.warning("the lease was lost")

    def _try(self, me: Replica) -> None:
        self.waits_for = None
        self.holder = self._door.holder()
        if self.holder is not None or self._finishing.is_set():
            self._empty_since = None
            return
        self.waits_for = self._reason_to_wait(me)
        if self.waits_for is not None:
            return
        sent = self._clock()
        lease = self._door.take(me.id, self._lasts)
        if lease is None:
            return
        # Another one may have led, and put its state, since the look.
        self.waits_for = self._reason_to_wait(me)
        if self.waits_for is not None:
            self._door.give_up(lease)
            return
        with self._guard:
            self._tenure = self._until(lease, sent)
        self.holder = me.id
        log.info("this replica leads now")

    def _reason_to_wait(self, me: Replica) -> str | None:
        if self._clock() - self._worked > PATIENCE:
            return "its own round, which does not end"
        if self._clock() < self._not_before:
            return "the others, after it stepped down"
        head = self._door.head()
        if head is not None:
            self._empty_since = None
            if head.generation > me.generation:
                return f"state {head.generation} of Redis: {me.generation} is here"
            return self._newer(me, self._living()) or self._before(me, 0)
        now = self._clock()
        if self._empty_since is None:
            self._empty_since = now
        if now - self._empty_since < GATHERING:
            return f"the others, for {GATHERING:g} s: Redis holds no state"
        # With the state their words went too, but not from memory.
        heard = [one for one in self._heard.values() if self._is_fresh(one)]
        return self._newer(me, heard) or self._before(me, me.generation)

    def _newer(self, me: Replica, of: list[_Heard]) -> str | None:
        """Who is to lead before this one; one that does not, for as long as a dead one, is not."""
        now = self._clock()
        ahead = {
            one.name: one.replica.generation
            for one in of
            if one.replica is not None and one.replica.generation > me.generation
        }
        self._awaited = {name: self._awaited.get(name, now) for name in ahead}
        for name, generation in ahead.items():
            if now - self._awaited[name] <= DEAD_AFTER:
                return f"{name} that has state {generation}: {me.generation} is here"
        return None

    def _before(self, me: Replica, least: int) -> str | None:
        """Who serves nobody, and so leads before this one; `least` is the state it has to have.

        One that does not lead, for as long as a dead one, is not waited for.
        """
        now = self._clock()
        names = [
            one.name
            for one in self._living()
            if one.replica is not None and not one.replica.front and me.front
            if one.replica.generation >= least
        ]
        self._given_way = {name: self._given_way.get(name, now) for name in names}
        for name in names:
            if now - self._given_way[name] <= DEAD_AFTER:
                return f"{name}, which serves nobody and leads before the others"
        return None

    def _gives_way(self, me: Replica) -> str | None:
        """To whom a holder leaves the lease; all that it knows has to be in Redis by then."""
        before = self._before(me, 0)
        if before is None:
            return None
        head = self._door.head()
        return before if head is not None and head.generation >= me.generation else None

    def _until(self, lease: Lease, sent: float) -> _Tenure:
        return _Tenure(lease, sent + self._lasts - self._margin)

    def _hear(self, me: Replica) -> None:
        now = self._clock()
        said = self._door.replicas()
        said.pop(me.id, None)
        heard = {name: one for name, one in self._heard.items() if self._is_fresh(one)}
        for name, words in said.items():
            before = self._heard.get(name)
            if before is None or before.words != words:
                before = _Heard(name, words, now, decode(words))
            heard[name] = before
        self._heard, self._listed = heard, frozenset(said)
        self._newest = max(self._newest, *(one.generation for one in self.others), 0)
        tenure = self._tenure
        if tenure is None:
            return
        newer = self._newer(me, self._living()) or self._gives_way(me)
        if newer is not None:
            log.warning("the lease goes to %s", newer)
            self.step_down(tenure.lease)
        for name in said:
            if now - heard[name].at > FORGOTTEN_AFTER:
                self._door.forget_replica(name)

    def _living(self) -> list[_Heard]:
        heard, listed = self._heard, self._listed
        return [one for one in heard.values() if one.name in listed and self._is_fresh(one)]

    def _is_fresh(self, one: _Heard) -> bool:
        """By when its words were new here, not by the time in them: clocks differ."""
        return self._clock() - one.at <= DEAD_AFTER
