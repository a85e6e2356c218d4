"""What the watcher knows of one branch, and how long it waits after failures.

Plain state without I/O; `time.monotonic()` readings come in as arguments or are taken by the
backoff itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gateway.names import Branch, Commit
from gateway.repositories.move import Move
from gateway.repositories.snapshots import Lease

Kind = Literal["missing", "content", "remote", "machine"]

_FIRST_RETRY = 2.0
_LONGEST_RETRY = 300.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a branch: a word for programs and a text for people.

    `lasting` content trouble ends only when the ref moves or the settings change.
    """

    kind: Kind
    text: str
    lasting: bool = False


class Backoff:
    """Waits that double from at most 2 s to at most 5 minutes, and start anew on success."""

    def __init__(self, poll: float) -> None:
        self._first = min(poll, _FIRST_RETRY)
        self._longest = max(poll, _LONGEST_RETRY)
        self._failures = 0
        self.due = 0.0

    def next_delay(self) -> float:
        """Note a failure; seconds to wait for the next attempt."""
        delay: float = min(self._first * 2 ** min(self._failures, 30), self._longest)
        self._failures += 1
        self.due = time.monotonic() + delay
        return delay

    def succeeded(self) -> None:
        self._failures = 0


class Followed:
    """One branch as the watcher follows it: newest tip, last tip dealt with, what is delivered."""

    def __init__(self, branch: Branch, model: str | None, poll: float) -> None:
        self.branch = branch
        self.model = model
        self.tip: Commit | None = None
        self.handled: Commit | None = None
        self.move: Move | None = None
        self.moved: datetime | None = None
        self.trouble: Trouble | None = None
        self.retry = Backoff(poll)
        self.busy = False
        self.present = True
        self.searches = 0
        self._lease: Lease | None = None
        self._failed_tip: Commit | None = None
        self._reported: tuple[Kind, str] | None = None

    def needs(self, tip: Commit, now: float) -> bool:
        """Whether the tip is to be taken now: new, or its last failure is long enough ago."""
        if not self.present or tip == self.handled:
            return False
        return tip != self._failed_tip or now >= self.retry.due

    def settled(self, tip: Commit) -> bool:
        """Whether the tip is delivered: nothing can be wrong with it any more."""
        return tip == self.handled and self.move is not None and self.move.tip == tip

    def unsettled(self, most: int) -> bool:
        """Whether the provenance of what is delivered should be looked for again."""
        return self.move is not None and not self.move.commit_known and self.searches < most

    def took(self, move: Move, lease: Lease, now: datetime) -> None:
        """The tip is delivered and holds its snapshot; the one before is given back."""
        if self.move is None or self.move.fingerprint != move.fingerprint:
            self.searches = 0
        self.restored(move, lease)
        self.handled, self.moved = move.tip, now
        self.retry.succeeded()
        self._failed_tip = None
        self.heal()

    def restored(self, move: Move, lease: Lease) -> None:
        """An earlier run's last good is delivered; the tip is still to be dealt with."""
        before, self._lease, self.move = self._lease, lease, move
        if before is not None:
            before.release()

    def failed(self, tip: Commit, failure: Trouble) -> float | None:
        """The tip could not be taken; seconds until it may be again, None until the ref moves."""
        if failure.lasting:
            self.handled = tip
            self.retry.succeeded()
            return None
        self._failed_tip = tip
        return self.retry.next_delay()

    def in_trouble(self, tip: Commit | None, trouble: Trouble) -> bool:
        """Note the trouble; whether it is news.

        The same fault of a newer tip is not: the gateway's own commits move the tip too, and
        reporting is one of them.
        """
        self.trouble = trouble
        said = trouble.text.replace(tip, "") if tip else trouble.text
        news = self._reported != (trouble.kind, said)
        self._reported = (trouble.kind, said)
        return news

    def heal(self) -> None:
        self.trouble = None
        self._reported = None

    def use_model(self, model: str | None) -> None:
        """Another `model` setting makes another content of the same tip."""
        if model != self.model:
            self.model = model
            self.handled = self._failed_tip = None

    def try_again(self) -> None:
        """What the tip was refused for may have been a setting that is another now."""
        if self.trouble is not None and self.trouble.kind == "content":
            self.handled = self._failed_tip = None

    def forget(self) -> None:
        """The branch is followed no longer: give its snapshot back."""
        self.present = False
        if self._lease is not None:
            self._lease.release()
            self._lease = None
