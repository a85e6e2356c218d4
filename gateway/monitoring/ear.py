"""How a front speaks to its monitor: words, each on a line, over a pipe.

Owns the words, and the named pipe in the state directory for a monitor that the front did not
start. Nothing waits for an answer; whether somebody listens shows in whether the pipe opens.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from gateway.errors import StateError

#: The pipe's name in the state directory.
EAR_FILE = "monitor.ear"
#: A chunk was sealed: there is something to do.
LOOK = b"look"
#: The git server called this replica: the others are to look at the repository, too.
REMOTE = b"remote"
_LONGEST = 64


def listen(
    pipe: BinaryIO,
    look: Callable[[], None],
    look_elsewhere: Callable[[], None],
    end: Callable[[], None],
) -> None:
    """Call `look` whatever is said, and `look_elsewhere` for its word, until the pipe ends.

    Unbuffered: a thread inside a buffered reader cannot be left behind when the process ends.
    """
    rest = b""
    while data := os.read(pipe.fileno(), 4096):
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[-_LONGEST:]
        if REMOTE in lines:
            look_elsewhere()
        look()
    end()


def open_ear(path: Path) -> BinaryIO:
    """The monitor's end, which never ends however often fronts come and go."""
    try:
        if not path.is_fifo():
            path.unlink(missing_ok=True)
            os.mkfifo(path, 0o600)
        # For both directions: a pipe without any writer would be at its end.
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CLOEXEC), "rb", buffering=0)
    except OSError as error:
        text = f"no named pipe can be opened here: {error.strerror}"
        raise StateError(text, where=str(path)) from error


def say(path: Path, word: bytes = b"") -> bool:
    """Say a word, or nothing, into the ear at `path`; False if nobody listens. Never waits."""
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            return False
        if word:
            os.write(pipe, word + b"\n")
    except BlockingIOError:
        pass  # full of words that were not heard yet: one of them will do
    except OSError:
        return False
    finally:
        os.close(pipe)
    return True
