"""Who made the commits that are served, when, and what they said it was for.

Read from a git repository once for each commit, where it lies anyway, and remembered over restarts
in state_dir/commits.json. Losing that file costs the words of old commits and nothing else.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.names import Commit
from gateway.timestamps import rfc3339

#: Commits that are remembered, and characters of a subject and of a name.
MOST, _SUBJECT, _NAME = 200, 200, 100

#: What `rev-list` is asked; plumbing, so that no configuration changes what it says.
QUESTION = ("rev-list", "--no-walk", "--encoding=UTF-8", "--format=%an%x00%ct%x00%s")


class Authorship(msgspec.Struct, frozen=True):
    """What is told of a commit. No address: that is nobody's who only looks on."""

    author: str
    subject: str
    committed_at: str


class Authorships:
    """The memory. Thread-safe; reads its file when first asked."""

    def __init__(self, path: Path | None = None) -> None:
        """Without a `path` it is forgotten with the process."""
        self._path = path
        self._found: dict[str, Authorship] | None = None
        self._guard, self._writing = threading.Lock(), threading.Lock()

    def get(self, commit: Commit) -> Authorship | None:
        with self._guard:
            return self._known().get(commit)

    def note(self, commit: Commit, ask: Callable[[], bytes | None]) -> None:
        """Remember what `ask` says, unless it is known; what cannot be said is nobody's trouble.

        `ask` gives the answer of git to `QUESTION`, or None.
        """
        if self.get(commit) is not None:
            return
        found = parse(ask() or b"")
        if found is None:
            return
        with self._writing:
            with self._guard:
                known = self._known()
                known[commit] = found
                while len(known) > MOST:
                    del known[next(iter(known))]
                content = msgspec.json.encode(known)
            if self._path is not None:
                beside = self._path.with_name(f".{self._path.name}")
                with contextlib.suppress(OSError):  # it is in memory, and not worth a failure
                    beside.write_bytes(content)
                    beside.replace(self._path)

    def _known(self) -> dict[str, Authorship]:
        if self._found is None:
            self._found = {}
            if self._path is not None:
                with contextlib.suppress(OSError, ValueError, RecursionError):
                    content = self._path.read_bytes()
                    self._found = msgspec.json.decode(content, type=dict[str, Authorship])
        return self._found


def parse(answer: bytes) -> Authorship | None:
    """What git answered; None where that is nothing."""
    first, _, rest = answer.decode(errors="replace").partition("\n")
    parts = rest.strip("\n").split("\0")
    if not first.startswith("commit ") or len(parts) != 3 or not parts[1].isdecimal():
        return None
    author, seconds, subject = parts
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return Authorship(_line(author, _NAME), _line(subject, _SUBJECT), rfc3339(int(seconds)))
    return None


def _line(text: str, most: int) -> str:
    """Without what turns the direction of text or acts upon a terminal, and of bounded length."""
    shown = "".join(one if one.isprintable() else " " for one in text).strip()
    return shown if len(shown) <= most else shown[: most - 1] + "…"
