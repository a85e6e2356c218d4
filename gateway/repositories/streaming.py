"""Draining a child whose output is large: piece by piece, within a deadline, watched meanwhile."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Callable

_PIECE = 1 << 18
_LOOK_EVERY = 0.25
_MOST_SAID = 1 << 16


def drain(
    child: subprocess.Popen[bytes],
    write: Callable[[bytes], object],
    *,
    stdin: bytes = b"",
    deadline: float,
    look: Callable[[], object] = lambda: None,
) -> bytes:
    """Hand its output to `write` until it ends; the last of what it said on standard error.

    `stdin` is small; `look` is called several times a second. TimeoutError after `deadline`
    seconds. Whoever gave the child ends it if one of them raises.
    """
    if child.stdin is None or child.stdout is None or child.stderr is None:
        raise ValueError("the child needs pipes")
    end = time.monotonic() + deadline
    said = bytearray()

    def hear(piece: bytes) -> None:
        said.extend(piece)
        del said[:-_MOST_SAID]

    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(stdin)
        child.stdin.close()
    with selectors.DefaultSelector() as pipes:
        pipes.register(child.stdout, selectors.EVENT_READ, write)
        pipes.register(child.stderr, selectors.EVENT_READ, hear)
        next_look = 0.0
        while pipes.get_map():
            for pipe, _ in pipes.select(_LOOK_EVERY):
                if piece := os.read(pipe.fd, _PIECE):
                    pipe.data(piece)
                else:
                    pipes.unregister(pipe.fileobj)
            now = time.monotonic()
            if now > end:
                raise TimeoutError
            if now >= next_look:
                look()
                next_look = now + _LOOK_EVERY
    try:
        child.wait(max(end - time.monotonic(), _LOOK_EVERY))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return bytes(said)
