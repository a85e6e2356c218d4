"""What happened, newest last: swaps, quarantines, ejections, changed weights, pushes, drift.

A ring of so many events, kept over restarts in state_dir/timeline.json. Told by those who decide;
decides nothing. The whole record is the monitoring commits' decisions: this is for looking at.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.naming import few
from gateway.state import write_atomically
from gateway.timestamps import rfc3339

log = logging.getLogger(__name__)

TIMELINE_FILE = "timeline.json"
#: Events that are kept; of pushes, which come all the time, only so many.
MOST, MOST_PUSHES = 500, 60
_TEXT = 300
_WRITE_EVERY, _TRY_AGAIN = 2.0, 10.0
#: What is said again after a restart, although nothing has changed.
_REPEATED = ("allocation", "drift", "trouble")
DRIFTED = ("alert", "critical")


class Event(msgspec.Struct, frozen=True):
    """One thing that happened. `word` says it within its kind: a state, a severity, a result."""

    number: int
    at: str
    kind: str
    word: str
    branch: str | None
    commit: str | None
    text: str


class Timeline:
    """The ring, and the keeper of its file. Lives on the event loop."""

    def __init__(self, state_dir: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = state_dir / TIMELINE_FILE
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=MOST)
        self._wake = asyncio.Event()

    @property
    def newest(self) -> int:
        """The last event's number; they go up by one, over restarts as well."""
        return self._events[-1].number if self._events else 0

    def after(self, number: int = 0) -> list[Event]:
        return [event for event in self._events if event.number > number]

    def last_change(self) -> Event | None:
        """The newest event but for pushes and starts, which change nothing about answers."""
        kinds = ("push", "start")
        return next((one for one in reversed(self._events) if one.kind not in kinds), None)

    # Who is told what

    def began(self, version: str) -> None:
        """Take over what is on disk, and say that this run begins."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=list[Event])
            self._events.extend(found)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s is unreadable and begun anew: %s", self._path, error)
        self.note("start", "started", f"version {version}")

    def decided(self, branch: str, commit: str, decision: str, reason: str) -> None:
        """A decision about a branch's content or its workers."""
        self.note("branch", decision, reason, branch=branch, commit=commit)

    def configured(self, decision: str, reason: str) -> None:
        """gateway.yaml was applied or refused."""
        self.note("configuration", decision.removeprefix("config_"), reason)

    def ordered(self, branch: str, state: str | None, text: str) -> None:
        """The gateway's own word on a branch's weight; `state` None: gateway.yaml's holds again."""
        self.note("allocation", state or "as configured", text, branch=branch)

    def pushed(self, news: Iterable[tuple[str, str]], status: Mapping[str, Any]) -> None:
        """Monitoring commits, and those that failed."""
        for name, result in news:
            told = (status.get("branches") or {}).get(name) or {}
            push, failure = told.get("last_push") or {}, told.get("last_failure") or {}
            if result == "pushed":
                text = f"{push.get('rows', 0):,} rows to {told.get('ref')}"
                commit = push.get("commit")
                self.note("push", result, text, branch=name, commit=commit)
            else:
                self.note("trouble", "push", str(failure.get("reason")), branch=name)

    def drifted(self, said: Mapping[str, Any] | None) -> None:
        """Note each branch that begins to drift, or does so no longer.

        What only moved a little comes and goes; it stands with the drift, and is no event.
        """
        for name, found in ((said or {}).get("branches") or {}).items():
            severity = found.get("severity")
            before = self._last("drift", name)
            known = before.word if before is not None else "ok"
            severity = "ok" if severity == "warn" else severity
            if severity is None or severity in ("insufficient", known):
                continue
            moved = [c["column"] for c in found.get("columns", ()) if c["severity"] in DRIFTED]
            text = f"columns moved: {few(moved, 3)}" if moved else "back within its tolerance"
            self.note("drift", severity, text, branch=name)

    def note(
        self,
        kind: str,
        word: str,
        text: str,
        *,
        branch: str | None = None,
        commit: str | None = None,
    ) -> None:
        """Add an event, unless it only repeats what was said last."""
        text = " ".join(text.split())
        text = text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
        last = self._last(kind, branch)
        if kind in _REPEATED and last is not None and (last.word, last.text) == (word, text):
            return
        if kind == "push" and sum(one.kind == "push" for one in self._events) >= MOST_PUSHES:
            self._events.remove(next(one for one in self._events if one.kind == "push"))
        at = rfc3339(self._clock())
        self._events.append(
            Event(self.newest + 1, at, kind, word, branch or None, commit or None, text)
        )
        self._wake.set()

    def _last(self, kind: str, branch: str | None) -> Event | None:
        return next(
            (one for one in reversed(self._events) if one.kind == kind and one.branch == branch),
            None,
        )

    # The file

    async def run(self) -> None:
        """The keeper's body: writes what is new, beside the loop and not too often."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            pause = _WRITE_EVERY
            try:
                await asyncio.to_thread(self._write, list(self._events))
            except OSError as error:
                log.warning("what happened could not be written down: %s", error)
                self._wake.set()
                pause = _TRY_AGAIN
            await asyncio.sleep(pause)

    def close(self) -> None:
        """Write the last of it."""
        with contextlib.suppress(OSError):  # nothing that an orderly end should fail for
            self._write(list(self._events))

    def _write(self, events: list[Event]) -> None:
        write_atomically(self._path, msgspec.json.encode(events, enc_hook=str))
