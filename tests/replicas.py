"""Replicas for tests: real gateways on one git remote and one Redis, and all that can befall them.

Owns the processes and the line from each to Redis. `replica_crowd` has the users.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from faultproxy import FaultProxy
from gitrepo import Remote
from redisserver import RedisServer
from running import Gateway
from waiting import wait_until
from workers.fleets import alive

from gateway.shared.door import Door, SharedAway
from gateway.shared.lease import DEAD_AFTER

KEY = "the same key for all replicas"
PREFIX = "story"
#: Whoever has the newest state is waited for until he is dead, also one that is frozen.
ANOTHER_LEADS = DEAD_AFTER + 40.0
#: What a push of a gateway writes down: whose it was, and what moved.
_HOOK = 'while read old new ref; do echo "${HOME##*/} $old $new $ref" >> moves; done'


class Replicas:
    """`count` gateways on folders of their own. `with` ends them, and speaks if the test fails."""

    def __init__(
        self,
        folder: Path,
        remote: Remote,
        branches: Mapping[str, Mapping[str, Any]],
        server: RedisServer,
        *,
        count: int = 3,
        gone_after: str = "1h",
        **settings: Any,
    ) -> None:
        """`settings` are further keys of gateway.yaml, the same for all."""
        self.remote = remote
        self.server = server
        self.lines = [FaultProxy(server.socket) for _ in range(count)]
        self.fronts: list[Gateway] = []
        #: Those that users may be sent to.
        self.up: list[Gateway] = []
        self._frozen: set[int] = set()
        self._opened = contextlib.ExitStack()
        # Git's children see it, and so does the hook of a repository beside them.
        remote.hook("post-receive", _HOOK)
        self._door = Door(server.settings(PREFIX))
        for number, line in enumerate(self.lines):
            self._opened.enter_context(line)
            place = folder / f"replica-{number}"
            place.mkdir(parents=True)
            environ = {"REDIS_URL": line.url, "UNIT_KEY": KEY, "HOME": str(place)}
            shared = {"redis": {"url_env": "REDIS_URL", "prefix": PREFIX, "gone_after": gone_after}}
            given = {"spare_workers": 0, "unit_key_env": "UNIT_KEY", **shared, **settings}
            front = Gateway(place, remote, branches, environ=environ, **given)
            self.fronts.append(front)

    def __enter__(self) -> Self:
        for front in self.fronts:
            self.start(front)
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        for front in self.fronts:
            front.kill()
            print(f"--- {front.folder.name} ---\n{front.words()[-8000:]}")  # noqa: T201
        self._opened.close()
        self._door.close()

    # What befalls them

    def start(self, front: Gateway) -> None:
        front.start()
        self.up.append(front)

    def stop(self, front: Gateway) -> int:
        self.up.remove(front)
        return front.stop()

    def kill(self, front: Gateway) -> None:
        """kill -9 of the front; its children end by themselves."""
        self.up.remove(front)
        front.kill()

    def kill_all_of(self, front: Gateway) -> None:
        """kill -9 of each of its processes, before one of them could end in order."""
        assert front.process is not None
        children = [pid for pid, _ in _children(front.process.pid)]
        self.kill(front)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(alive, children)))

    def monitor(self, front: Gateway) -> int:
        """The pid of its monitor, once it runs; by the process tree: a frozen front is mute."""
        assert front.process is not None
        pid = front.process.pid
        found = wait_until(lambda: _monitors_of(pid), 60.0, front.words)
        assert isinstance(found, list)
        return int(found[0])

    def kill_monitor(self, front: Gateway) -> None:
        os.kill(self.monitor(front), signal.SIGKILL)

    def freeze(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        self._frozen.add(pid)

    def thaw(self) -> None:
        """All that is frozen."""
        while self._frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._frozen.pop(), signal.SIGCONT)

    def cut(self) -> None:
        """Off from Redis, all of them."""
        for line in self.lines:
            line.cut()

    def mend(self) -> None:
        for line in self.lines:
            line.mend()

    def line(self, front: Gateway) -> FaultProxy:
        """From this one to Redis."""
        return self.lines[self.fronts.index(front)]

    def until_answers_are_lost(self) -> None:
        """At every replica that is up."""
        lines = [self.line(front) for front in self.up]
        before = [line.lost for line in lines]
        wait_until(
            lambda: all(line.lost >= was + 3 for line, was in zip(lines, before, strict=True)),
            60.0,
        )

    # What they say

    def url(self, turn: int) -> str:
        """Of one that is up: each in its turn."""
        return self.up[turn % len(self.up)].url

    def words(self) -> str:
        return "\n".join(f"--- {one.folder.name}\n{one.words()[-5000:]}" for one in self.fronts)

    def holder(self) -> Gateway | None:
        """Who has the lease, as Redis says; None too while it says nothing."""
        try:
            name = self._door.holder()
        except SharedAway:
            return None
        return next((one for one in self.fronts if self._id(one) == name), None)

    def leads(self) -> Gateway:
        """The holder, once there is one."""
        found = wait_until(self.holder, ANOTHER_LEADS, self.words)
        assert isinstance(found, Gateway)
        return found

    def until_another_leads(self, than: Gateway) -> Gateway:
        def other() -> Gateway | None:
            found = self.holder()
            return found if found is not than else None

        found = wait_until(other, ANOTHER_LEADS, self.words)
        assert isinstance(found, Gateway)
        return found

    def has_shipped(self, front: Gateway) -> bool:
        """Redis has every byte of its journal."""
        journal = front.folder / ".gateway" / "journal"
        here = {
            f"{path.parent.name}:{int(path.stem)}": path.stat().st_size
            for path in journal.glob("*/*")
        }
        held = {f"{key.writer}:{key.number}": one.size for key, one in self._door.chunks().items()}
        return bool(here) and all(held.get(name) == size for name, size in here.items())

    def has_shipped_all(self, front: Gateway) -> bool:
        """Redis has every chunk of its journal, and each one whole."""
        journal = front.folder / ".gateway" / "journal"
        here = {f"{path.parent.name}:{int(path.stem)}" for path in journal.glob("*/*")}
        held = {f"{key.writer}:{key.number}": one for key, one in self._door.chunks().items()}
        return bool(here) and all(name in held and held[name].sealed for name in here)

    def shared(self, front: Gateway) -> dict[str, Any]:
        """What the front says of the others."""

        found = wait_until(lambda: front.get("/branches").json().get("shared"), 60.0, front.words)
        assert isinstance(found, dict)
        return found

    def troubles(self) -> list[str | None]:
        return [self.shared(front)["trouble"] for front in self.up]

    def until_degraded(self) -> list[str]:
        """Every replica says that it is, and why."""
        wait_until(lambda: all(self.troubles()), 60.0, self.troubles)
        return [str(one) for one in self.troubles()]

    def until_well(self) -> None:
        wait_until(lambda: not any(self.troubles()), 60.0, lambda: (self.troubles(), self.words()))

    def read_outs(self) -> list[dict[str, Any]]:
        return [front.get("/experiment").json() for front in self.up]

    def pushes(self) -> list[tuple[str, str, str]]:
        """In their order: which replica, the new tip, the ref."""
        file = self.remote.path / "moves"
        found = []
        for line in file.read_text().splitlines() if file.exists() else []:
            who, _, new, ref = line.split(" ")
            if who.startswith("replica-"):
                found.append((who, new, ref))
        return found

    def command(self, front: Gateway, *words: str) -> str:
        """A command of `gateway` that is given at this replica."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *words, "--config", str(front.file)],
            capture_output=True,
            text=True,
            env={**os.environ, **front.environ},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _id(self, front: Gateway) -> str:
        file = front.folder / ".gateway" / "replica.id"
        return file.read_text().strip() if file.exists() else ""


def _monitors_of(front: int) -> list[int]:
    return [pid for pid, line in _children(front) if "gateway" in line and "monitor" in line]


def _children(parent: int) -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] not in "ZX":
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                yield int(entry.name), line.split("\0")
