"""Streaming objects out of one `git cat-file --batch`, in bounded memory."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import IO

from gateway.repositories.gitprocess import end_group

_PIECE = 1 << 20


class Blobs:
    """A reader over a running `git cat-file --batch`; one thread at a time."""

    def __init__(
        self, asked: IO[bytes], answered: IO[bytes], broken: Callable[[str], Exception]
    ) -> None:
        self._asked = asked
        self._answered = answered
        self._broken = broken

    @classmethod
    @contextlib.contextmanager
    def within(
        cls,
        child: subprocess.Popen[bytes],
        deadline: float,
        broken: Callable[[str], Exception],
    ) -> Iterator[Blobs]:
        """A reader whose child is killed `deadline` seconds from now: reading then raises."""
        if child.stdin is None or child.stdout is None:
            raise ValueError("the child needs pipes")
        timer = threading.Timer(deadline, end_group, [child])
        timer.daemon = True
        timer.start()
        try:
            yield cls(child.stdin, child.stdout, broken)
        finally:
            timer.cancel()

    def copy(self, oid: str, write: Callable[[bytes], object]) -> int:
        """Hand the object's bytes to `write` piece by piece; its size."""
        size = self._open(oid)
        left = size
        while left:
            piece = self._answered.read(min(_PIECE, left))
            if not piece:
                raise self._broken(f"git cat-file ended within object {oid}")
            left -= len(piece)
            write(piece)
        self._answered.read(1)
        return size

    def read(self, oid: str) -> bytes:
        """A small object whole."""
        pieces: list[bytes] = []
        self.copy(oid, pieces.append)
        return b"".join(pieces)

    def beginning(self, oid: str, most_bytes: int) -> bytes:
        """The object's first bytes, whatever its size."""
        kept = bytearray()
        self.copy(oid, lambda piece: kept.extend(piece[: most_bytes - len(kept)]))
        return bytes(kept)

    def _open(self, oid: str) -> int:
        try:
            self._asked.write(f"{oid}\n".encode())
            self._asked.flush()
        except BrokenPipeError:
            raise self._broken(f"git cat-file ended before object {oid}") from None
        head = self._answered.readline().split()
        if len(head) != 3:
            said = b" ".join(head).decode(errors="replace") or "nothing: it was ended"
            raise self._broken(f"git cat-file said of {oid}: {said}")
        return int(head[2])
