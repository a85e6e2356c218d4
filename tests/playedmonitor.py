"""A test in the monitor's place: it takes commands, steers, and writes the orders of a gateway."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from gateway import commands_folder
from gateway.experiments.allocation import ALLOCATION_FILE, Order, Orders
from gateway.experiments.facts import Candidate, Facts
from gateway.experiments.memory import Memory
from gateway.experiments.steering import steer
from gateway.monitoring.ear import EAR_FILE, open_ear
from gateway.names import Branch
from gateway.state import write_atomically


class PlayedMonitor:
    """Holds the lock of the real one, which waits for it as long as this lasts."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (state_dir / "monitor.lock").open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._ear = open_ear(state_dir / EAR_FILE)
        os.set_blocking(self._ear.fileno(), False)
        #: What fronts without a monitor of their own have said so far.
        self._heard = b""
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self.memory = Memory()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        self._ear.close()
        self._lock.close()

    def heard(self) -> list[str]:
        """The words, in order."""
        self._heard += self._ear.read() or b""
        return self._heard.decode().split()

    def say(self, **document: Any) -> None:
        """A status document, with what every one has."""
        words = {"waiting": {"chunks": 0, "bytes": 0, "unreadable": 0}, **document}
        write_atomically(self.state_dir / "monitor.json", json.dumps(words).encode())

    def write(self, **orders: Order) -> None:
        """By the names of the branches."""
        data = msgspec.json.encode(Orders(branches=orders))
        write_atomically(self.state_dir / ALLOCATION_FILE, data)

    def steer(self, now: float, candidates: Callable[[], tuple[Candidate, ...]]) -> None:
        """A turn, as the real one takes it."""
        waiting = tuple(commands_folder.waiting(self.state_dir))
        facts = Facts(now, Branch("prod"), candidates(), commands=waiting)
        steered = steer(self.memory, facts)
        self.memory = steered.memory
        self.write(**steered.orders)
        for command in steered.taken:
            commands_folder.done(self.state_dir, command)

    def run(self, candidates: Callable[[], tuple[Candidate, ...]]) -> None:
        """Take turns until the end."""

        def turns() -> None:
            now = 1_000_000.0
            while not self._end.wait(0.05):
                now += 0.05
                self.steer(now, candidates)

        self._thread = threading.Thread(target=turns)
        self._thread.start()
