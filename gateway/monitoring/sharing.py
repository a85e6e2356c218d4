"""What every replica shares with the others, whoever leads: its rows, its word, what was decided.

A thread of its own, so that neither a hanging git server nor a long round keeps rows from Redis or
a decision from the front.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from gateway.chunks import BEFORE_HEADER
from gateway.commands_folder import FOLDER, done, settle, waiting, withdrawals
from gateway.errors import StateError
from gateway.experiments.allocation import ALLOCATION_FILE
from gateway.experiments.document import EXPERIMENT_FILE
from gateway.experiments.facts import Command
from gateway.monitoring.experiments.observing import SERVED_FILE, serving_in
from gateway.monitoring.monitor_settings import SETTINGS_FILE, MonitorSettings
from gateway.shared.door import Door, SharedAway
from gateway.shared.held import Lease
from gateway.shared.lease import Leadership
from gateway.shared.replica import Replica, Serving, served_by_most, skew
from gateway.shared.shipping import Shipper
from gateway.shared.state_copy import StateCopy
from gateway.state import write_atomically

log = logging.getLogger(__name__)

_EVERY = 0.25
_TROUBLED_WAIT = 1.0
#: The holder's status, among the documents.
_STATUS = "monitor"
_DRIFT = "drift"
#: Of whom a replica tells that it has chunks: a front is a new one at each start.
_MOST_WRITERS = 1000
#: What only one replica has to say of a settings file.
_OWN = ("state_dir", "home", "redis", "credentials", "written")


class Sharing:
    """One replica's dealings with Redis, beside the lease and the state."""

    def __init__(
        self,
        door: Door,
        settings: MonitorSettings,
        copy: StateCopy,
        *,
        remote_looks: Callable[[], int],
    ) -> None:
        """`remote_looks` counts how often the git server called this replica's front."""
        assert settings.redis is not None
        self._door = door
        self._remote_looks = remote_looks
        self._home = settings.home
        self._work = settings.state_dir
        self._redis = settings.redis
        self._copy = copy
        self._shipper = Shipper(door, settings.home / "journal", settings.redis.chunk_bytes)
        self._leadership: Leadership | None = None
        self._finishing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sharing", daemon=True)
        self._documents_at: int | None = None
        self._published: dict[str, bytes] = {}
        self._published_at: int | None = None
        #: Operators' words from here that are in Redis; they lie here until they are in force.
        self._sent: set[str] = set()
        #: Commands that lie where the holder's monitor takes them.
        self._brought: set[str] = set()
        #: Of those, what it had taken by the last round.
        self._taken: set[str] = set()
        self._called = 0
        self._looks = 0
        self._size: int | None = None
        #: What is to be known of Redis' memory.
        self._memory: str | None = None
        self._agreed = False
        self._trouble: str | None = "Redis was not asked yet"
        #: What the holder said last, wherever it is.
        self.told: dict[str, Any] = {}

    def start(self, leadership: Leadership) -> None:
        self._leadership = leadership
        self._thread.start()

    def finish(self) -> None:
        self._finishing.set()
        self._thread.join(5.0)

    # The thread

    def _run(self) -> None:
        while not self._finishing.is_set():
            try:
                self._turn()
                self._trouble = self._shipper.status.trouble
            except SharedAway as error:
                self._trouble = str(error)
            except (StateError, OSError) as error:
                self._trouble = str(error)
            except Exception as error:
                # A defect of ours: the next turn may do better, and serving needs none.
                log.exception("sharing stands still")
                self._trouble = repr(error)
            if not self._shipper.status.behind or self._trouble:
                self._finishing.wait(_TROUBLED_WAIT if self._trouble else _EVERY)
        # What the front wrote at its end.
        self._shipper.step(lambda: False)

    def _turn(self) -> None:
        self._agree()
        self._measure()
        self._learn_what_serves()
        self._shipper.step(self._finishing.is_set)
        commands = waiting(self._home)
        self._withdraw()
        self._sent &= {one.id for one in commands}
        sent = [one for one in commands if one.id in self._sent]
        for command in commands:
            if command.id not in self._sent:
                self._door.send_command(msgspec.json.encode(command))
                self._sent.add(command.id)
        # Before the documents, so that those say what came of a word that is gone.
        left = {msgspec.json.decode(text, type=Command).id for text in self._left(sent)}
        if (called := self._remote_looks()) != self._called:
            self._door.call_look()
            self._called = called
        self._looks = self._door.looks()
        at = self._door.documents_at()
        if at != self._documents_at:
            self._take_documents(self._door.documents())
            self._documents_at = at
        for command in sent:
            if command.id not in left:
                done(self._home, command)

    def _measure(self) -> None:
        """How much of ours Redis has, and may have: it must not be full before it is said."""
        chunks, beside = self._door.size()
        self._size = chunks + beside
        memory = self._door.memory()
        room = memory.room(chunks, beside)
        self._shipper.cap = self._redis.chunk_bytes
        self._memory = memory.warning
        if room is not None and room < self._redis.chunk_bytes:
            self._shipper.cap = room
            if self._shipper.status.paused:
                self._memory = (
                    f"Redis uses {memory.used} of the {memory.most} bytes that it may (maxmemory):"
                    f" it takes {room} of the {self._redis.chunk_bytes} bytes of redis.chunk_bytes,"
                    " and what is beyond waits on the disk"
                )

    def _withdraw(self) -> None:
        """Take back what nobody acted upon in time; what came of it, its operator is told."""
        for command in withdrawals(self._home):
            is_back = self._door.withdraw_command(msgspec.json.encode(command))
            is_taken = is_back is False or (is_back is None and command.id in self._sent)
            settle(self._home, command, is_taken=is_taken)

    def _learn_what_serves(self) -> None:
        """Without a front, what it would have written down is what the others say they serve."""
        if self._redis.front or self._leadership is None:
            return
        found = served_by_most(one for one in self._leadership.others if one.front)
        text = json.dumps(found, indent=1).encode()
        if found and _read(self._home / SERVED_FILE) != text:
            write_atomically(self._home / SERVED_FILE, text)

    def _left(self, sent: list[Command]) -> list[bytes]:
        """The words that wait in Redis, asked for only by who waits for one."""
        return self._door.commands() if sent else []

    def _agree(self) -> None:
        if self._agreed:
            return
        agreed = self._door.agree_on_key(self._redis.key)
        if agreed != self._redis.key:
            raise StateError(
                f"the replicas' unit key is another one: its id is {agreed}, here it is"
                f" {self._redis.key}; give all replicas the same, or this group another prefix",
                where="unit_key",
            )
        self._agreed = True

    # Documents

    def publish(self, lease: Lease, status: dict[str, Any] | None) -> None:
        """Tell all replicas what the holder says now; without `status` that stays what it was."""
        found = {_STATUS: json.dumps(status).encode()} if status is not None else {}
        for name in (ALLOCATION_FILE, EXPERIMENT_FILE):
            if (content := _read(self._work / name)) is not None:
                found[name] = content
        for path in sorted((self._work / _DRIFT).glob("*.json")):
            if (content := _read(path)) is not None:
                found[f"{_DRIFT}/{path.name}"] = content
        if self._door.documents_at() != self._published_at:
            # Another one's are there, or none: Redis was emptied.
            self._published = {}
        changed = {name: text for name, text in found.items() if self._published.get(name) != text}
        if changed and self._door.put_documents(lease, changed):
            self._published |= changed
            self._published_at = self._door.documents_at()
        self._bring_commands(lease)

    def _bring_commands(self, lease: Lease) -> None:
        """Operators' words of all replicas, to where the holder's monitor finds them.

        One that it took goes from Redis a round later: what came of it is in the state by then.
        """
        brought = self._door.bring_commands(lease)
        if brought is None:
            return
        words = {msgspec.json.decode(text, type=Command).id: text for text in brought}
        there = {one.id for one in waiting(self._work)}
        gone = {name for name in words if name in self._brought and name not in there}
        taken = [words[name] for name in gone & self._taken]
        if taken and not self._door.drop_commands(lease, taken):
            return
        self._brought &= words.keys()
        self._taken = gone
        for name in words.keys() - self._brought:
            (self._work / FOLDER).mkdir(mode=0o700, exist_ok=True)
            write_atomically(self._work / FOLDER / f"{name}.json", words[name])
            self._brought.add(name)

    def leads(self) -> None:
        """It begins to lead: words that lie here were taken by others since, or are in Redis."""
        for command in waiting(self._work):
            done(self._work, command)
        self._brought, self._taken = set(), set()

    def _take_documents(self, documents: dict[str, bytes]) -> None:
        """Put them where this replica's front finds them."""
        for name, content in documents.items():
            if name == _STATUS:
                self.told = json.loads(content)
                continue
            path = self._home / name
            if not _is_document(name) or _read(path) == content:
                continue
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(path, content)

    # What is told

    def rows_until(self) -> float:
        """Every row of any replica that lives, older than this, is in Redis."""
        now = time.time()
        times = [self._shipper.shipped_until(now)]
        if self._leadership is not None:
            times += [one.shipped_until for one in self._leadership.others]
        return min(times) + BEFORE_HEADER

    def writes(self, writer: str) -> bool:
        """Is it the journal of a front that is there?"""
        assert self._leadership is not None
        there = {_writer(self._home), *(one.writer for one in self._leadership.others)}
        return writer in there

    def is_kept(self, writer: str, within: float) -> bool:
        """Has a replica chunks of this writer that was there within so many seconds?"""
        assert self._leadership is not None
        there = self._leadership.lately(within)
        kept = {*_writers(self._home), *(one.writer for one in there)}
        return writer in kept or any(writer in one.keeps for one in there)

    def replica(self) -> Replica:
        """This replica, as it is now."""
        served = serving_in(self._home) if self._redis.front else {}
        return Replica(
            id=self._redis.replica,
            writer=_writer(self._home),
            host=socket.gethostname(),
            pid=os.getpid(),
            serving={b: Serving(one.fingerprint, one.commit) for b, one in served.items()},
            tips={branch: one.tip for branch, one in served.items()},
            front=self._redis.front,
            config=_digest(self._home / SETTINGS_FILE),
            key=self._redis.key,
            generation=self._copy.generation,
            keeps=_writers(self._home),
            shipped_until=self._shipper.shipped_until(time.time()),
            at=time.time(),
        )

    def status(self, *, is_leading: bool, trouble: str | None) -> dict[str, Any]:
        """For this replica's front."""
        assert self._leadership is not None
        here, others = self.replica(), self._leadership.others
        shipped = self._shipper.status
        return {
            "replica": here.id,
            "role": "leads" if is_leading else "stands by",
            "holder": self._leadership.holder,
            "state": self._copy.generation,
            "waiting": {"chunks": shipped.chunks, "bytes": shipped.bytes},
            "paused": shipped.paused,
            "bytes": self._size,
            "memory": self._memory,
            "trouble": self._trouble or trouble or self._leadership.trouble,
            "waits_for": self._leadership.waits_for,
            "replicas": {
                one.id: {
                    "host": one.host,
                    "pid": one.pid,
                    "writer": one.writer,
                    "serving": msgspec.to_builtins(one.serving),
                }
                for one in sorted([here, *others], key=lambda one: one.id)
                if one.front
            },
            "skew": skew(here, others),
            "looks": self._looks,
        }


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _is_document(name: str) -> bool:
    """Not everything that stands in Redis may become a file here."""
    folder, _, file = name.rpartition("/")
    if name in (ALLOCATION_FILE, EXPERIMENT_FILE):
        return True
    return folder == _DRIFT and file.endswith(".json") and not file.startswith(".")


def _writer(home: Path) -> str:
    """The front's run that writes the journal now."""
    opened = sorted((home / "journal").glob("*/*.open"), key=lambda path: path.stat().st_mtime)
    return opened[-1].parent.name if opened else ""


def _writers(home: Path) -> tuple[str, ...]:
    """Those with chunks here."""
    found = {path.parent.name for path in (home / "journal").glob("*/*")}
    return tuple(sorted(found)[:_MOST_WRITERS])


def _digest(settings_path: Path) -> str:
    """Of what has to be the same at all replicas."""
    try:
        said = json.loads(settings_path.read_bytes())
    except (OSError, ValueError):
        return ""
    same = {name: value for name, value in said.items() if name not in _OWN}
    return blake2b(json.dumps(same, sort_keys=True).encode(), digest_size=6).hexdigest()
