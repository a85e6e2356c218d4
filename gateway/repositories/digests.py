"""What the files of a folder hold, each read again only when the system says that it changed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.repositories.patience import Beat
from gateway.repositories.pointers import MOST_BYTES, NotFollowed, parse_pointer

_PIECE = 1 << 20
#: Clocks of file systems are as coarse as this: what changed twice within may look unchanged.
_COARSE = 2.0


@dataclass(frozen=True, slots=True)
class Digest:
    """SHA-256 of a file's bytes, the id git would give it (if asked for), and what keeps the file
    from being served: it only stands for content kept elsewhere.
    """

    sha256: str
    blob: str | None
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Stamp:
    """All that would differ if the file `path` were another, or were written to."""

    path: str
    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: str, found: os.stat_result) -> Stamp:
        return cls(
            path,
            found.st_dev,
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
        )


class Digests:
    """The digests of one sub-folder, as of its last look; one thread at a time."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._algorithm: str | None = None
        self._seen: dict[Stamp, tuple[Digest, float] | None] = {}
        self._seeing: dict[Stamp, tuple[Digest, float] | None] = {}

    def begin(self, algorithm: str | None) -> None:
        """A look begins; `algorithm` is that of git's ids, None where they are not wanted."""
        if algorithm != self._algorithm:
            self._algorithm, self._seen = algorithm, {}
        self._seeing = {}

    def end(self) -> None:
        """The look is over: what it did not meet is forgotten."""
        self._seen = self._seeing

    def of(self, stamp: Stamp, descriptor: Callable[[], int], beat: Beat) -> Digest | None:
        """The digest of the file behind `descriptor()`, which is closed.

        None as long as the file changed a moment ago and was not met like this before: reading
        what is still growing, again and again, would cost most of a network mount.
        """
        known = self._seen.get(stamp) or self._seeing.get(stamp)
        changed = stamp.changed / 1e9
        if known is not None and changed < known[1] - _COARSE:
            self._seeing[stamp] = known
            return known[0]
        now = self._now()
        if stamp not in self._seen and changed > now - _COARSE:
            self._seeing[stamp] = None
            return None
        digest = self._read(stamp.size, descriptor(), beat)
        self._seeing[stamp] = (digest, now)
        return digest

    def _read(self, size: int, descriptor: int, beat: Beat) -> Digest:
        sha256 = hashlib.sha256()
        blob = None
        if self._algorithm is not None:
            blob = hashlib.new(self._algorithm, b"blob %d\0" % size, usedforsecurity=False)
        head = bytearray()
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                beat()
                head += piece[: MOST_BYTES + 1 - len(head)]
                sha256.update(piece)
                if blob is not None:
                    blob.update(piece)
        return Digest(
            sha256.hexdigest(),
            blob.hexdigest() if blob is not None else None,
            _refusal(bytes(head)),
        )


def _refusal(head: bytes) -> str | None:
    """What is wrong with a file of which these are the first bytes, more than any pointer has."""
    try:
        pointer = parse_pointer(head)
    except NotFollowed as error:
        return str(error)
    if pointer is None:
        return None
    return "is a git-lfs pointer, not the content itself: run `git lfs pull` in the folder"
