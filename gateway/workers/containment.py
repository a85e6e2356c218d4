"""How workers are contained, from the parent's side: their scratch folders and their users.

The layers themselves are put on in the child, by `runner/confinement`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from gateway.shielding import shield
from gateway.workers.wire import Confinement

#: Numbers that distributions, systemd and containers leave alone, so that nobody else has them.
_USERS = range(60706, 61184)
_SCRATCH = "scratch"
#: What workers find their own in, by a name that tells nobody anything.
_PASSED = ("snapshots", "environments", _SCRATCH)
#: Files in a scratch folder that are looked at; more are too many.
_MOST_FILES = 10_000
_numbers = count(secrets.randbelow(len(_USERS)))


@dataclass(frozen=True, slots=True)
class Containment:
    """How every worker of a gateway is contained. `state` is the gateway's own directory."""

    sandbox: str = "best-effort"
    state: Path | None = None

    @property
    def _folder(self) -> Path:
        return Path(tempfile.gettempdir()) if self.state is None else self.state / _SCRATCH

    @property
    def _switches(self) -> bool:
        """Whether workers get a user of their own."""
        return self.sandbox != "off" and os.geteuid() == 0

    def open(self) -> None:
        """Close the gateway to its workers, and remove what an earlier run left."""
        if self.sandbox != "off":
            shield()
        if self.state is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def scratch(self) -> Scratch:
        """A new worker's; one without a folder where none can be made."""
        user = _USERS[next(_numbers) % len(_USERS)] if self._switches else None
        if self.sandbox == "off":
            return Scratch(None, None)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if user is not None:
                self._let_pass()
            folder = Path(tempfile.mkdtemp(prefix="worker-", dir=self._folder))
        except OSError:  # a full disk: to serve matters more
            return Scratch(None, user)
        return Scratch(folder, user)

    def variables(self, scratch: Scratch) -> dict[str, str]:
        """What programs look at for a place to write, and whether they may make processes.

        joblib, where it is not told, warns at its import that they cannot be had, and fails later.
        """
        if self.sandbox == "off":
            return {}
        found = {"JOBLIB_MULTIPROCESSING": "0"}
        if scratch.folder is not None:
            found |= dict.fromkeys(("HOME", "TMPDIR"), str(scratch.folder))
        return found

    def _let_pass(self) -> None:
        """Workers may pass through the gateway's directory to what is theirs, and find no more.

        They share a group; nobody else does, and what lies beside these folders is closed.
        """
        if self.state is None:
            return
        for entry in os.scandir(self.state):
            if entry.name not in _PASSED and not entry.is_symlink():
                mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                if mode & 0o077:
                    with contextlib.suppress(OSError):
                        Path(entry).chmod(mode & 0o700)
        for folder in (self.state, *(self.state / name for name in _PASSED)):
            self._pass(folder)

    @staticmethod
    def _pass(folder: Path) -> None:
        with contextlib.suppress(OSError):
            os.chown(folder, -1, _USERS[0])
            folder.chmod(0o710)


@dataclass(slots=True)
class Scratch:
    """One worker's folder, if it has one, and the user it is to become.

    `room` is how many bytes it may hold; before a branch is known nothing is written there.
    """

    folder: Path | None = None
    user: int | None = None
    room: int | None = None

    def confinement(self, sandbox: str, *, network: bool, room: int) -> Confinement:
        """What the worker is told, and held to from now on."""
        self.room = room
        group = None if self.user is None else _USERS[0]
        folder = None if self.folder is None else str(self.folder)
        return Confinement(sandbox, network, folder, room, self.user, group)

    def overfull(self, pid: int) -> str | None:
        """What is wrong with what lies in it, or is open though deleted; None if it has room."""
        if self.folder is None or self.room is None:
            return None
        used, files = 0, 0
        for size in (*_sizes(self.folder), *_deleted(pid)):
            used, files = used + size, files + 1
            if used > self.room or files > _MOST_FILES:
                return (
                    f"filled its scratch folder: {files} files with {used} bytes, where"
                    f" {_MOST_FILES} and {self.room} are allowed (limits.worker_scratch)"
                )
        return None

    def remove(self) -> None:
        """The worker is gone."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _sizes(folder: Path) -> Iterator[int]:
    """Bytes on disk of each file and folder below; what vanishes meanwhile has none."""
    waiting = [str(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(entry.path)
                yield found.st_blocks * 512


def _deleted(pid: int) -> Iterator[int]:
    """The same of files that the process holds open and no folder names; its memory files too."""
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found = descriptor.stat()
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                    yield found.st_blocks * 512
