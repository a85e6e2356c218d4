"""Calls into a mount that may hang for ever: given up when nothing has moved for a while.

A call on a dead network mount cannot be ended, only left behind: each runs in a daemon thread of
its own, and as long as one hangs no other of the same name is begun.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from gateway.errors import RemoteUnavailable

Result = TypeVar("Result")

#: Called by the work whenever it got a step further.
Beat = Callable[[], None]


class Patience:
    """Waits for calls as long as they get on, at most `seconds` for each step. Thread-safe."""

    def __init__(self, seconds: float, where: str) -> None:
        self._seconds = seconds
        self._where = where
        self._running: set[_Attempt] = set()
        self._hung: dict[str, _Attempt] = {}
        self._guard = threading.Lock()
        self._ending = threading.Event()

    def call(self, name: str, work: Callable[[Beat], Result]) -> Result:
        """What `work` returns or raises; RemoteUnavailable if it hangs, or hung and still does."""
        attempt = _Attempt(work)
        with self._guard:
            if self._ending.is_set():
                raise self._error("the gateway is stopping")
            if name in self._hung and self._hung[name].is_alive():
                raise self._error(f"{name} still hangs: the mount does not answer")
            self._hung.pop(name, None)
            self._running.add(attempt)
            attempt.start()
        try:
            while not attempt.over.wait(max(0.0, attempt.latest + self._seconds - _now())):
                if _now() >= attempt.latest + self._seconds:
                    attempt.leave(f"{name} got no further for {self._seconds:g} s")
        finally:
            with self._guard:
                self._running.discard(attempt)
                if attempt.left is not None:
                    self._hung[name] = attempt
        if attempt.left is not None:
            raise self._error(attempt.left)
        if attempt.error is not None:
            raise attempt.error
        result: Result = attempt.result
        return result

    def close(self) -> None:
        """Let go of all that is under way; later calls raise RemoteUnavailable."""
        with self._guard:
            self._ending.set()
            for attempt in self._running:
                attempt.leave("the gateway is stopping")

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond `close`."""
        self._ending.wait(seconds)

    def resume(self) -> None:
        """Take calls again after `close`."""
        self._ending.clear()

    def _error(self, message: str) -> RemoteUnavailable:
        return RemoteUnavailable(message, where=self._where)


class _Left(Exception):
    """Nobody waits for the work any more; seen in this module only."""


class _Attempt(threading.Thread):
    """One call. `left` says why nobody waits for it; `latest` is when it last got further."""

    def __init__(self, work: Callable[[Beat], Any]) -> None:
        super().__init__(name="folder", daemon=True)
        self._work = work
        self.over = threading.Event()
        self.latest = _now()
        self.left: str | None = None
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self._work(self._beat)
        except BaseException as error:
            self.error = error
        finally:
            self.over.set()

    def leave(self, why: str) -> None:
        self.left = why
        self.over.set()

    def _beat(self) -> None:
        if self.left is not None:
            raise _Left
        self.latest = _now()


def _now() -> float:
    return time.monotonic()
