"""The monitor's process: takes sealed chunks, counts them, has them published, says how it is.

Owns the rhythm (when each branch is pushed, how failures are spaced) and the process' life: its
lock, its end on end-of-input or SIGTERM within a deadline. It can be killed at any instant: a
chunk stays on disk until it is confirmed, and repeating a step changes nothing.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import BinaryIO

from gateway.chunks import BEFORE_HEADER, ChunkKey, unsealed_chunks
from gateway.errors import GatewayError, RepositoryError, StateError
from gateway.monitoring.backlog import Backlog
from gateway.monitoring.commits import Wording
from gateway.monitoring.drift.files import BranchFiles
from gateway.monitoring.drift.keeper import Drift
from gateway.monitoring.ear import listen
from gateway.monitoring.experiments.running import Running
from gateway.monitoring.measuring import Measuring
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.monitoring.monitor_status import document
from gateway.monitoring.only_one import locked
from gateway.monitoring.outbox import Outbox
from gateway.monitoring.publisher import Policy, Publisher, Target
from gateway.monitoring.settings_file import SettingsFile
from gateway.monitoring.shelf import Shelf
from gateway.monitoring.shelves import doors_of
from gateway.names import Branch
from gateway.naming import few
from gateway.shielding import shield
from gateway.state import write_atomically
from gateway.store import Store
from gateway.store.ledger import PART
from gateway.store.sqlite import SqliteStore
from gateway.timestamps import rfc3339

log = logging.getLogger(__name__)

_PUSH_BYTES = 16 * 1024 * 1024
_SHORTEST_INTERVAL = 10.0
_LONGEST_BACKOFF = 60.0
_CACHE_BYTES = 256 * 1024 * 1024
_TROUBLED_WAIT = 5.0
#: Seconds of the end that experiments may have.
_LAST_TURN = 3.0
_MOST_NAMED = 5


class Finishing:
    """Whether the process is to end, and whether its time is up. Set from any thread or signal."""

    def __init__(self, within: float) -> None:
        self._within = within
        self._wake = threading.Event()
        self._asked = threading.Event()
        self._over = threading.Event()
        self.on_over: Callable[[], None] = lambda: None
        #: Grows when the other replicas are to look at the repository as well.
        self.remote_looks = 0

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

    def look_elsewhere(self) -> None:
        """The git server called the front."""
        self.remote_looks += 1

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
        holds: Callable[[ChunkKey], bool] = lambda key: False,
        until: Callable[[], float] = lambda: inf,
        may_go: Callable[[ChunkKey], bool] = lambda key: True,
        writes: Callable[[str], bool] = lambda writer: True,
        settling: AbstractContextManager[object] | None = None,
    ) -> None:
        """`holds` says of a chunk that somebody else has not taken it yet.

        All rows before `until` (Unix time) are in the journal, whoever's they are. `may_go` says of
        what the monitor itself wrote that it may be published, `writes` of a writer that it runs.
        `settling` is entered while chunks are deleted.
        """
        self.settings = settings
        self.trouble: str | None = None
        self._shelf = shelf
        self._store = store
        self._finishing = finishing
        self._clock = clock
        self._now = now
        self._jitter = jitter
        self._holds = holds
        self._until = until
        self._writes = writes
        self._settling = settling or nullcontext()
        self._watermark = 0.0
        #: Chunks that were deleted since somebody looked: nothing of them is needed any more.
        self.settled: set[ChunkKey] = set()
        self._turns: dict[Branch, _Turn] = {}
        self._journal = settings.state_dir / "journal"
        self._backlog = Backlog(self._journal, store)
        self._outbox = Outbox(store, may_go)
        self._measuring = Measuring(Drift(settings, store, files, clock), self._backlog, clock)
        self._publisher = Publisher(shelf, store, now=now, pause=finishing.pause, jitter=jitter)

    def step(self) -> None:
        """Take in what is new, push the branches whose turn it is, delete what is confirmed."""
        self.look()
        self.work()

    def look(self) -> None:
        """Take in what was sealed since the last look, and count its rows."""
        # In this order: a chunk that is not seen here was begun later, or is sealed by the look.
        now = self._now().timestamp()
        begun = unsealed_chunks(self._journal, self._writes)
        self._watermark = min(now, self._until(), *begun) - BEFORE_HEADER
        self._backlog.look(self._is_over)

    def work(self) -> None:
        """What there is to do about what was taken in."""
        failure = self._measure(self._watermark)
        for branch in self._to_publish():
            turn = self._turns.setdefault(branch, _Turn())
            if turn.next <= self._clock() and not self._is_over():
                self._publish(branch, turn)
        self._settle()
        if failure is not None:
            raise failure
        if self._measuring.is_behind:
            self._finishing.look()

    def _measure(self, watermark: float) -> StateError | OSError | None:
        """What the machine refused: rows in git come before drift, and go on."""
        try:
            if not self._is_over():
                self._measuring.step(self.settings, watermark, self._is_over)
        except (StateError, OSError) as error:
            return error
        return None

    def last_step(self) -> None:
        """Push what can be pushed in the time that is left, each branch to its first failure; for
        who looked before.
        """
        self.work()
        for branch in self._to_publish():
            turn = self._turns.setdefault(branch, _Turn())
            while branch in self._to_publish() and not self._is_over():
                if not self._publish(branch, turn):
                    break
                self._settle()
        if left := self._to_publish():
            log.warning("it ends, and rows of %s wait on the disk", few(left, _MOST_NAMED))

    def taken(self) -> set[ChunkKey]:
        """Chunks on disk of which everything was counted."""
        keys = {one.file.key for one in self._backlog.chunks()}
        return {key for key in keys if not (self._measuring.holds(key) or self._holds(key))}

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
        with self._settling:
            deleted = self._backlog.settle(
                self.settings, now, lambda key: self._measuring.holds(key) or self._holds(key)
            )
            self.settled |= {one.file.key for one in deleted}
        self._measuring.without(deleted)
        self._outbox.settle(self.settings, now)

    def _publish(self, branch: Branch, turn: _Turn) -> bool:
        segments = self._backlog.segments(branch, self.settings, _PUSH_BYTES)
        segments += self._outbox.segments(branch, _PUSH_BYTES)
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
    file: SettingsFile,
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
    shield()
    finishing = Finishing(finish_within)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: finishing.ask())
    heard = (finishing.look, finishing.look_elsewhere, finishing.ask)
    threading.Thread(target=listen, args=(stdin, *heard), daemon=True).start()
    try:
        settings = file.first(lambda: finishing.asked, finishing.wait)
        if settings is None:
            return 0
        if settings.redis is not None:
            from gateway.monitoring.replicated import run_replica

            return run_replica(file, settings, environ, finishing, stdout)
        state = settings.state_dir
        state.mkdir(mode=0o700, exist_ok=True)
        shelf, files = doors_of(settings, environ)
        finishing.on_over = shelf.close
        with (
            locked(state / "monitor.lock", finishing),
            SqliteStore(state / "store.sqlite") as store,
        ):
            shelf.open()
            # Read anew, as this thread may hang on a remote that does not answer.
            experiments = Running(state / "store.sqlite", lambda: file.again(monitor.settings))
            monitor = Monitor(
                settings,
                shelf,
                files,
                store,
                finishing,
                clock=time.monotonic,
                now=lambda: datetime.now(UTC),
                jitter=random.random,
                holds=lambda key: not store.has(key, PART),
            )
            voice = Voice(stdout, settings.home / "monitor.json")
            _run(monitor, experiments, file, voice, finishing)
    except GatewayError as error:
        log.error("the monitor stops: %s", error)
        return 1
    return 0


def _run(
    monitor: Monitor,
    experiments: Running,
    file: SettingsFile,
    voice: Voice,
    finishing: Finishing,
) -> None:
    def status() -> dict[str, object]:
        return {**monitor.status(), "experiments": {"trouble": experiments.trouble}}

    experiments.start()
    while not finishing.asked:
        file.check(monitor.settings)
        monitor.settings = file.again(monitor.settings)
        monitor.trouble = tried(monitor.step)
        if not voice.say(status()):
            finishing.ask()
        finishing.wait(1.0 if monitor.trouble is None else _TROUBLED_WAIT)
    # What it still writes is to be in the last commit.
    experiments.finish(_LAST_TURN)
    monitor.trouble = tried(monitor.look) or tried(monitor.last_step)
    voice.say(status())


def tried(step: Callable[[], None]) -> str | None:
    """What the machine refused, in words: nothing is lost, and it is tried again."""
    try:
        step()
    except (StateError, OSError) as error:
        log.error("chunks wait on the disk: %s", error)
        return f"chunks wait on the disk: {error}"
    return None


class Voice:
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
