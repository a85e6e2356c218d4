"""The monitor's process: takes sealed chunks, counts them, has them published, says how it is.

Owns the rhythm (when each branch is pushed, how failures are spaced) and the process' life: its
lock, its end on end-of-input or SIGTERM within a deadline. It can be killed at any instant: a
chunk stays on disk until it is confirmed, and repeating a step changes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import BinaryIO

from gateway.chunks import unsealed_chunks
from gateway.errors import GatewayError, RepositoryError, StateError
from gateway.monitoring.backlog import Backlog
from gateway.monitoring.commits import Wording
from gateway.monitoring.drift.files import BranchFiles
from gateway.monitoring.drift.keeper import Drift
from gateway.monitoring.measuring import Measuring
from gateway.monitoring.monitor_settings import MonitorSettings, load_settings
from gateway.monitoring.monitor_status import document
from gateway.monitoring.outbox import Outbox
from gateway.monitoring.publisher import Policy, Publisher, Target
from gateway.monitoring.shelf import Shelf
from gateway.monitoring.shelves import doors_of
from gateway.names import Branch
from gateway.state import write_atomically
from gateway.store import Store
from gateway.store.sqlite import SqliteStore
from gateway.timestamps import rfc3339

log = logging.getLogger(__name__)

_PUSH_BYTES = 16 * 1024 * 1024
_SHORTEST_INTERVAL = 10.0
_LONGEST_BACKOFF = 60.0
_CACHE_BYTES = 256 * 1024 * 1024
_LOCK_WAIT = 30.0
_TROUBLED_WAIT = 5.0
#: Seconds between a chunk's first time stamp and its appearance, at most.
_APPEARS_WITHIN = 2.0


class Finishing:
    """Whether the process is to end, and whether its time is up. Set from any thread or signal."""

    def __init__(self, within: float) -> None:
        self._within = within
        self._wake = threading.Event()
        self._asked = threading.Event()
        self._over = threading.Event()
        self.on_over: Callable[[], None] = lambda: None

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def ask(self) -> None:
        if not self._asked.is_set():
            self._asked.set()
            timer = threading.Timer(self._within, self._end)
            timer.daemon = True
            timer.start()
        self._wake.set()

    def look(self) -> None:
        """There is something to do."""
        self._wake.set()

    def wait(self, timeout: float) -> None:
        """Until there is something to do or `timeout` is over."""
        self._wake.wait(timeout)
        self._wake.clear()

    def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the end."""
        self._over.wait(seconds)

    def _end(self) -> None:
        self._over.set()
        self.on_over()


@dataclass(slots=True)
class _Turn:
    """When a branch may be pushed next, in the clock's seconds."""

    next: float = 0.0
    failures: int = 0


class Monitor:
    """The body between the opened doors; `step` is one round."""

    def __init__(
        self,
        settings: MonitorSettings,
        shelf: Shelf,
        files: BranchFiles,
        store: Store,
        finishing: Finishing,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.trouble: str | None = None
        self._shelf = shelf
        self._store = store
        self._finishing = finishing
        self._clock = clock
        self._now = now
        self._jitter = jitter
        self._turns: dict[Branch, _Turn] = {}
        self._journal = settings.state_dir / "journal"
        self._backlog = Backlog(self._journal, store)
        self._outbox = Outbox(store)
        self._measuring = Measuring(Drift(settings, store, files, clock), self._backlog, clock)
        self._publisher = Publisher(shelf, store, now=now, pause=finishing.pause, jitter=jitter)

    def step(self) -> None:
        """Take in what is new, push the branches whose turn it is, delete what is confirmed."""
        # In this order: a chunk that is not seen here was begun later, or is sealed by the look.
        begun = unsealed_chunks(self._journal)
        watermark = min(self._now().timestamp() - _APPEARS_WITHIN, *begun, inf)
        self._backlog.look(self._is_over)
        if not self._is_over():
            self._measuring.step(self.settings, watermark, self._is_over)
        for branch in self._to_publish():
            turn = self._turns.setdefault(branch, _Turn())
            if turn.next <= self._clock() and not self._is_over():
                self._publish(branch, turn)
        self._settle()
        if self._measuring.is_behind:
            self._finishing.look()

    def last_step(self) -> None:
        """Push what can be pushed in the time that is left, each branch to its first failure."""
        self.step()
        for branch in self._to_publish():
            turn = self._turns.setdefault(branch, _Turn())
            while branch in self._to_publish() and not self._is_over():
                if not self._publish(branch, turn):
                    break
                self._settle()

    def status(self) -> dict[str, object]:
        place = self._shelf.place
        found = document(self.settings, self._store, self._backlog, self._policy(), place)
        return {
            **found,
            "trouble": self.trouble,
            "cache": self._shelf.cache_status(),
            "drift": self._measuring.status(self.settings),
        }

    def _is_over(self) -> bool:
        return self._finishing.over

    def _to_publish(self) -> list[Branch]:
        waiting = {*self._backlog.branches(self.settings), *self._outbox.branches(self.settings)}
        return sorted(waiting)

    def _settle(self) -> None:
        now = self._now()
        self._backlog.settle(self.settings, now, self._measuring.holds)
        self._outbox.settle(self.settings, now)

    def _publish(self, branch: Branch, turn: _Turn) -> bool:
        segments = self._backlog.segments(branch, self.settings, _PUSH_BYTES)
        segments += self._outbox.segments(branch)
        try:
            self._publisher.publish(branch, segments, self._policy())
            self._shelf.slim(_CACHE_BYTES)
        except RepositoryError as error:
            self._failed(branch, turn, error)
            self._shelf.mend(error)
            return False
        turn.failures = 0
        turn.next = self._clock() + min(self.settings.monitoring.flush, _SHORTEST_INTERVAL)
        return True

    def _failed(self, branch: Branch, turn: _Turn, error: RepositoryError) -> None:
        log.warning("not published, the rows wait: %s", error, extra={"branch": branch})
        turn.failures += 1
        backoff = min(_LONGEST_BACKOFF, 2.0 ** min(turn.failures - 1, 10))
        turn.next = self._clock() + backoff * (0.5 + self._jitter() / 2)
        state = self._store.publication(branch)
        ts = rfc3339(self._now().timestamp())
        self._store.set_publication(branch, replace(state, failed_ts=ts, failure=str(error)))

    def _policy(self) -> Policy:
        said = self.settings.monitoring
        target: Target = "branch" if said.target == "branch" else "side-branch"
        wording = Wording(said.author, said.committer, said.message)
        return Policy(target, self.settings.retention, self.settings.stamp, wording)


def run_monitor(
    settings_path: Path,
    stdin: BinaryIO,
    stdout: BinaryIO,
    environ: Mapping[str, str],
    *,
    finish_within: float = 10.0,
) -> int:
    """The whole process: until `stdin` ends or SIGTERM, then `finish_within` seconds more.

    `environ` is all that git's children inherit. Returns the exit code.
    """
    os.nice(10)
    finishing = Finishing(finish_within)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: finishing.ask())
    threading.Thread(target=_listen, args=(stdin, finishing), daemon=True).start()
    try:
        settings = load_settings(settings_path)
        state = settings.state_dir
        shelf, files = doors_of(settings, environ)
        finishing.on_over = shelf.close
        with (
            _locked(state / "monitor.lock", finishing),
            SqliteStore(state / "store.sqlite") as store,
        ):
            shelf.open()
            monitor = Monitor(
                settings,
                shelf,
                files,
                store,
                finishing,
                clock=time.monotonic,
                now=lambda: datetime.now(UTC),
                jitter=random.random,
            )
            _run(monitor, settings_path, _Voice(stdout, state / "monitor.json"), finishing)
    except GatewayError as error:
        log.error("the monitor stops: %s", error)
        return 1
    return 0


def _run(monitor: Monitor, settings_path: Path, voice: _Voice, finishing: Finishing) -> None:
    while not finishing.asked:
        monitor.settings = _reread(settings_path, monitor.settings)
        monitor.trouble = _tried(monitor.step)
        if not voice.say(monitor.status()):
            finishing.ask()
        finishing.wait(1.0 if monitor.trouble is None else _TROUBLED_WAIT)
    monitor.trouble = _tried(monitor.last_step)
    voice.say(monitor.status())


def _tried(step: Callable[[], None]) -> str | None:
    """What the machine refused, in words: nothing is lost, and it is tried again."""
    try:
        step()
    except (StateError, OSError) as error:
        log.error("chunks wait on the disk: %s", error)
        return f"chunks wait on the disk: {error}"
    return None


def _reread(path: Path, settings: MonitorSettings) -> MonitorSettings:
    """The settings as they are now; those that cannot change in a running process stay."""
    try:
        changed = load_settings(path)
    except StateError as error:
        log.warning("the former settings stay in force: %s", error)
        return settings
    same = (settings.repository, settings.state_dir)
    return changed if (changed.repository, changed.state_dir) == same else settings


def _listen(stdin: BinaryIO, finishing: Finishing) -> None:
    # Unbuffered: a thread inside a buffered reader cannot be left behind when the process ends.
    while os.read(stdin.fileno(), 4096):
        finishing.look()
    finishing.ask()


@contextlib.contextmanager
def _locked(path: Path, finishing: Finishing) -> Iterator[None]:
    """Hold the lock of the one monitor; a predecessor that is dying is waited for."""
    with path.open("ab") as file:
        end = time.monotonic() + _LOCK_WAIT
        if not _try_lock(file):
            log.info("another monitor still holds %s: waiting for its end", path)
            while not _try_lock(file):
                if time.monotonic() > end or finishing.over:
                    raise StateError("another monitor holds it", where=str(path))
                finishing.pause(0.1)
        yield


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Voice:
    """Says the status document, when it changed: on standard output and into its file."""

    def __init__(self, stdout: BinaryIO, file: Path) -> None:
        self._stdout = stdout
        self._file = file
        self._said = b""

    def say(self, status: dict[str, object]) -> bool:
        """False if nobody listens any more."""
        text = json.dumps(status).encode() + b"\n"
        if text == self._said:
            return True
        self._said = text
        try:
            write_atomically(self._file, text)
        except OSError as error:
            log.warning("%s could not be written: %s", self._file, error)
            self._said = b""
        try:
            self._stdout.write(text)
            self._stdout.flush()
        except BrokenPipeError:
            # What it still holds would be written again at the exit, and fail aloud.
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stdout.fileno())
            return False
        return True
