"""What the holder brings from Redis and puts there, while another thread publishes.

Owns that thread: neither a git server that hangs nor a long round keeps a decision from the other
replicas, or the holder from their rows. Who publishes asks `put`, so that nothing of it goes into
git before it is in the state that the next holder has.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from gateway.chunks import ChunkKey
from gateway.errors import StateError
from gateway.monitoring.giving_up import GivingUp, StoredCuts
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.monitoring.sharing import Sharing
from gateway.shared.door import Door, SharedAway
from gateway.shared.held import Lease
from gateway.shared.lease import DEAD_AFTER, Leadership
from gateway.shared.mirroring import Mirror
from gateway.shared.state_copy import StateCopy
from gateway.store.ledger import Ledger

log = logging.getLogger(__name__)

_EVERY = 0.5
_TROUBLED_WAIT = 2.0
#: Seconds for what is on its way when time is up.
_ENDING = 3.0


class Exchange:
    """One tenure's, from `start` to `finish`."""

    def __init__(
        self,
        door: Door,
        copy: StateCopy,
        leadership: Leadership,
        sharing: Sharing,
        mirror: Mirror,
        *,
        is_over: Callable[[], bool],
        say: Callable[[], None],
    ) -> None:
        """`say` is called after each turn, by the thread: so it is told how it stands."""
        self._door = door
        self._copy = copy
        self._leadership = leadership
        self._sharing = sharing
        self._mirror = mirror
        self._is_over = is_over
        self._say = say
        #: Held while chunks come here or are deleted here.
        self.disk = threading.Lock()
        #: All rows before it are here.
        self.rows_until = 0.0
        #: Keys of the store's own segments that are in Redis.
        self.gone: frozenset[ChunkKey] = frozenset()
        #: What the publishing thread said last of itself.
        self.status: dict[str, Any] | None = None
        self.trouble: str | None = None
        self.is_all_here = False
        self._cuts: StoredCuts | None = None
        self._turned = threading.Condition()
        self._asked = self._served = 0
        self._outcome: bool | SharedAway | StateError | OSError = False
        self._finishing = False
        self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)

    def start(
        self, lease: Lease, settings: MonitorSettings, is_settled: Callable[[ChunkKey], bool]
    ) -> None:
        """`is_settled` says of a chunk that it was deleted here: it is not to come again."""
        assert settings.redis is not None
        self._lease = lease
        self._folder = settings.state_dir
        self._gone_after = settings.redis.gone_after
        self._is_settled = is_settled
        self._thread.start()

    def finish(self) -> None:
        """A last turn, and the end; what it uses may be used by others then."""
        with self._turned:
            self._finishing = True
            self._turned.notify_all()
        while self._thread.is_alive() and not self._is_over():
            self._thread.join(0.5)
        self._thread.join(_ENDING)

    def put(self) -> bool:
        """Everything that was stored before the call is in Redis, and all is here that was there.

        False if this replica is to lead no more; raises what keeps it from Redis.
        """
        with self._turned:
            self._asked += 1
            ticket = self._asked
            self._turned.notify_all()
            while self._served < ticket:
                if self._is_over():
                    raise StateError("there is no time left to say what was decided")
                if not self._thread.is_alive():
                    return False
                self._turned.wait(_EVERY)
            outcome = self._outcome
        if isinstance(outcome, bool):
            return outcome
        raise outcome

    def call_done(self, keys: frozenset[ChunkKey]) -> bool:
        """Nothing of these chunks is needed any more; False without the lease."""
        cuts = self._cuts.known() if self._cuts is not None else {}
        return self._door.call_done(self._lease, keys, cuts)

    # The thread

    def _run(self) -> None:
        try:
            while True:
                try:
                    if self._turns():
                        return
                except (StateError, OSError) as error:
                    self.trouble = str(error)
                    self._serve(self._asked, error)
                except Exception as error:
                    # A defect of ours: the next turn may do better.
                    log.exception("the holder's exchange with Redis stands still")
                    self.trouble = repr(error)
                    self._serve(self._asked, StateError(repr(error)))
                if self._rest():
                    return
        finally:
            self._copy.close()

    def _turns(self) -> bool:
        """True at the end."""
        with Ledger(self._folder / "store.sqlite") as store:
            cuts = self._cuts = StoredCuts(store)
            is_kept = partial(self._sharing.is_kept, within=min(self._gone_after, DEAD_AFTER))
            giving_up = GivingUp(self._door, self._lease, store, is_kept, self._gone_after)
            while True:
                is_last = self._finishing
                if not self._turn(store, cuts, giving_up) or is_last:
                    return True
                # At the end once more, for what was stored meanwhile.
                self._rest()

    def _turn(self, store: Ledger, cuts: StoredCuts, giving_up: GivingUp) -> bool:
        """False if this replica is to lead no more."""
        ticket = self._asked
        self.trouble = None
        try:
            self._bring(cuts)
            self.trouble = self._mirror.trouble
            keys = {one.key for one in store.outgoing()}
            if not self._copy.push(self._lease, newest=self._leadership.newest):
                log.warning("another replica has gone on: this one publishes no more")
                self._serve(ticket, False)
                return False
            self.gone = frozenset(keys)
            self._serve(ticket, True)
            giving_up.look(self._mirror, self._folder / "journal")
            self._sharing.publish(self._lease, self.status)
        except SharedAway as error:
            self.trouble = f"what was decided waits: {error}"
            self._serve(ticket, error)
        self._say()
        return True

    def _bring(self, cuts: StoredCuts) -> None:
        # Before the copy: what is shipped while it is made may be missing in it.
        until = self._sharing.rows_until()
        with self.disk:
            self.is_all_here = self._mirror.step(self._is_over, cuts, self._is_settled)
        if self.is_all_here:
            self.rows_until = until

    def _serve(self, ticket: int, outcome: bool | SharedAway | StateError | OSError) -> None:
        with self._turned:
            if self._served < ticket:
                self._served, self._outcome = ticket, outcome
                self._turned.notify_all()

    def _rest(self) -> bool:
        """Until something is asked or it is time; whether the end is near."""
        with self._turned:
            if not self._finishing and self._asked == self._served:
                self._turned.wait(_EVERY if self.trouble is None else _TROUBLED_WAIT)
            return self._finishing
