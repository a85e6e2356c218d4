"""When failures are a branch's own, and not those of one caller's requests.

Pure: told what happens, never asks.

A failure may have been caused by any of its suspects, the units that were with the worker. While
one unit is a suspect of every failure in a row, that caller's requests may be all that is wrong.
"""

from __future__ import annotations

from collections.abc import Set
from enum import Enum
from math import inf

#: Failures with no good answer between them.
IN_A_ROW = 5

#: A caller as far as it is known. Those who do not say who they are are one and the same here:
#: what cannot be told apart proves nothing.
Unit = str | None


class Suspicion(Enum):
    """What a failure asks for."""

    #: One caller may be behind all of them: does a row that must work fail too?
    PROBE = "probe"
    #: No one caller is: the branch has just been ejected.
    EJECTED = "ejected"


class Ejection:
    """Failures in a row of one branch, and whether it is ejected for them."""

    __slots__ = ("_suspects", "_turns", "ejected", "failures", "last_good", "why")

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.failures = 0
        self.ejected = False
        #: What the last failure was, in words.
        self.why = ""
        #: When the last good answer came, by the clock of the event loop.
        self.last_good = -inf
        self._suspects: Set[Unit] | None = None
        #: Ejections and probes that failed, since the last good answer.
        self._turns = 0

    @property
    def turns(self) -> int:
        """How often in a row it was tried in vain: the measure of the wait for the next try."""
        return self._turns

    def good(self, now: float) -> bool:
        """A request was answered well and in time; whether that ends an ejection."""
        self.last_good = now
        ended, self.ejected = self.ejected, False
        self.failures, self._suspects, self._turns = 0, None, 0
        return ended

    def failed(self, suspects: Set[Unit], why: str) -> Suspicion | None:
        """One more request failed, and one of these units is to blame if the branch is not."""
        if self.ejected:
            return None
        self.failures += 1
        self.why = why
        self._suspects = suspects if self._suspects is None else self._suspects & suspects
        if self.failures < IN_A_ROW:
            return None
        if not self._suspects:
            self._eject()
            return Suspicion.EJECTED
        return Suspicion.PROBE if self.failures % IN_A_ROW == 0 else None

    def unanswered(self, since: float, suspects: Set[Unit], why: str) -> Suspicion | None:
        """`failed` for a request that waited since then until the branch's own timeout.

        Where another was answered meanwhile the branch works, and only has too much to do.
        """
        return None if self.last_good >= since else self.failed(suspects, why)

    def probe_passed(self) -> bool:
        """A row that must work does: it was the callers' requests. Whether an ejection ends."""
        ended, self.ejected = self.ejected, False
        self.failures, self._suspects = 0, None
        return ended

    def probe_failed(self, why: str) -> bool:
        """A row that must work does not; whether that ejects the branch just now."""
        self.why = why
        if self.ejected:
            self._turns += 1
            return False
        if self.failures < IN_A_ROW:  # it was seen to work meanwhile
            return False
        self._eject()
        return True

    def on_trial(self) -> None:
        """There is nothing to probe it with: the next request shows whether it works again.

        One that fails ejects it anew, for the failures before it still count.
        """
        self.ejected = False

    def forget(self) -> bool:
        """Other content serves now; whether that ends an ejection."""
        ended = self.ejected
        self._begin()
        return ended

    def _eject(self) -> None:
        self.ejected = True
        self._turns += 1
        # Whoever fails next after a trial, it was proven before that no one caller is behind it.
        self._suspects = frozenset()
