"""That there is one monitor on a state directory, and no other."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from gateway.errors import StateError

log = logging.getLogger(__name__)

_WAIT = 30.0


class Ends(Protocol):
    """What is needed of the process' life."""

    @property
    def over(self) -> bool: ...

    def pause(self, seconds: float) -> None: ...


@contextlib.contextmanager
def locked(path: Path, process: Ends) -> Iterator[None]:
    """Hold the lock of the one monitor; a predecessor that is dying is waited for."""
    with path.open("ab") as file:
        end = time.monotonic() + _WAIT
        if not _try_lock(file):
            log.info("another monitor still holds %s: waiting for its end", path)
            while not _try_lock(file):
                if time.monotonic() > end or process.over:
                    raise StateError("another monitor holds it", where=str(path))
                process.pause(0.1)
        yield


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
