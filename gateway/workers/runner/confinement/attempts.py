"""What branch code tries that its containment does not allow, told in words.

Nothing is stopped here, the kernel does that: Python says what it is asked to do before it does
it, and what the layers will refuse is noted. What native code does by itself goes past this, and
is refused all the same.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

_AGAIN = 60.0
_MOST = 100
_LONGEST = 160
#: What changes files, and which argument is the descriptor of the folder that a path starts from.
_CHANGES = {
    "remove": 1,
    "rmdir": 1,
    "rename": 2,
    "link": 2,
    "mkdir": 2,
    "truncate": None,
    "chmod": 2,
    "chown": 3,
    "utime": 3,
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


#: The status of a reply that says how the model failed.
_ERROR = 2


class Reply(Protocol):
    """What a worker answers to one request."""

    @property
    def status(self) -> int: ...
    @property
    def predictions(self) -> bytes: ...


class Attempts:
    """Tells each attempt once a minute, with how often it was made; a hundred kinds at most."""

    def __init__(
        self,
        tell: Callable[[str, int], None],
        *,
        readable: Sequence[str],
        writable: Sequence[str],
        network: bool,
        withhold: bool,
    ) -> None:
        self._tell = tell
        self._readable = _beginnings([*readable, *writable])
        self._writable = _beginnings(writable)
        self._files = frozenset([*readable, *writable])
        self._withhold = withhold
        self._seen: dict[str, tuple[float, int]] = {}
        self._inside = threading.local()
        self._pid = os.getpid()
        self._known = self._events(network)

    def watch(self) -> None:
        """From now on for ever: Python lets nobody take a hook out."""
        sys.addaudithook(self._hear)

    def look_at(self, replies: Sequence[Reply]) -> None:
        """A bound on memory shows in what comes of it."""
        for reply in replies:
            if reply.status == _ERROR and reply.predictions.startswith(b"MemoryError"):
                self._note("takes more memory than it may have")

    def _events(self, network: bool) -> dict[str, Callable[[tuple[Any, ...]], str | None]]:
        known: dict[str, Callable[[tuple[Any, ...]], str | None]] = {
            "open": self._opens,
            "os.listdir": self._lists,
            "os.scandir": self._lists,
            "os.kill": self._signals,
            "os.killpg": self._signals,
            "subprocess.Popen": self._runs,
            "os.exec": self._runs,
            "os.posix_spawn": self._runs,
            "os.spawn": lambda given: self._runs(given[1:]),
            "os.system": lambda given: "runs a command",
            "os.fork": lambda given: "makes a process",
            "os.forkpty": lambda given: "makes a process",
            "socket.bind": lambda given: "listens on a socket",
            "resource.prlimit": self._limits,
        }
        for name, folder in _CHANGES.items():
            known[f"os.{name}"] = partial(self._changes, folder)
        known["os.symlink"] = lambda given: self._changes(1, given[1:])
        if not network:
            known["socket.__new__"] = self._opens_socket
            known["socket.getaddrinfo"] = self._asks_address
        return known

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        judge = self._known.get(event)
        if judge is None or getattr(self._inside, "busy", False) or os.getpid() != self._pid:
            return
        self._inside.busy = True
        try:
            # Whatever branch code gives here, it must come to no harm by being looked at.
            with contextlib.suppress(Exception):
                what = judge(given)
                if what is not None:
                    self._note(what[:_LONGEST])
        finally:
            self._inside.busy = False

    def _note(self, what: str) -> None:
        now = time.monotonic()
        last, times = self._seen.get(what, (now - _AGAIN, 0))
        if now - last < _AGAIN:
            self._seen[what] = (last, times + 1)
        elif what in self._seen or len(self._seen) < _MOST:
            self._seen[what] = (now, 0)
            self._tell(what, times + 1)

    def _shown(self, verb: str, path: str) -> str:
        return f"{verb} a file that is not its own" if self._withhold else f"{verb} {path}"

    def _opens(self, given: tuple[Any, ...]) -> str | None:
        path, mode, flags = given
        if isinstance(path, int):
            return None
        text = os.fsdecode(path)
        if mode is None and not Path(text).is_absolute():
            return None  # it may start from a folder that was opened before
        if isinstance(flags, int) and flags & _WRITES:
            return None if self._within(text, self._writable) else self._shown("writes", text)
        if _of_another(text, self._pid):
            return self._shown("reads", text)
        if text.startswith(self._readable) and ".." not in text:
            return None
        if self._within(text, self._readable) or not Path(text).exists():
            return None
        return self._shown("reads", text)

    def _lists(self, given: tuple[Any, ...]) -> str | None:
        path = given[0]
        if isinstance(path, int):
            return None
        text = "." if path is None else os.fsdecode(path)
        if self._within(text, self._readable) and not _of_another(text, self._pid):
            return None
        return self._shown("lists", text) if Path(text).exists() else None

    def _changes(self, folder: int | None, given: tuple[Any, ...]) -> str | None:
        if folder is not None and given[folder] != -1:
            return None  # from a folder that was opened before
        for path in given[:2]:
            if isinstance(path, (str, bytes, os.PathLike)):
                text = os.fsdecode(path)
                if not self._within(text, self._writable):
                    return self._shown("changes", text)
        return None

    def _signals(self, given: tuple[Any, ...]) -> str | None:
        return None if given[0] in (0, self._pid) else f"signals process {int(given[0])}"

    def _limits(self, given: tuple[Any, ...]) -> str | None:
        return None if given[0] in (0, self._pid) else f"limits process {int(given[0])}"

    def _runs(self, given: tuple[Any, ...]) -> str:
        program = os.fsdecode(given[0]) if isinstance(given[0], (str, bytes, os.PathLike)) else ""
        return "runs a program" if self._withhold or not program else f"runs {program}"

    def _opens_socket(self, given: tuple[Any, ...]) -> str | None:
        # A pair of its own, as asyncio makes, is of this family, and allowed.
        return None if int(given[1]) == 1 else "opens a socket"

    def _asks_address(self, given: tuple[Any, ...]) -> str:
        return "asks for an address" if self._withhold else f"asks for the address of {given[0]}"

    def _within(self, text: str, beginnings: tuple[str, ...]) -> bool:
        real = os.path.realpath(text)
        return real in self._files or f"{real}{os.sep}".startswith(beginnings)


def _of_another(text: str, pid: int) -> bool:
    """Whether it tells of another process: /proc lies open, but not to its end."""
    _, _, rest = text.partition("/proc/")
    owner = rest.partition("/")[0]
    return text.startswith("/proc/") and owner.isdigit() and int(owner) != pid


def _beginnings(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(path.rstrip(os.sep) + os.sep for path in paths)
