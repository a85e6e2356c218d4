"""Bounds of the kernel on one process, and who goes first when memory runs out."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

#: Descriptors; the channel's is one of them, and lies high.
_FILES = 1024
#: Threads, where no other process counts.
_THREADS = 512
#: Of the machine's memory, or of its group's: what one process may have at all.
_SHARE = 0.9
#: Beside what serves users and writes their rows; a spare says 1000 of itself.
_EXPENDABLE = 300
_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def bound(room: int, *, own_user: bool) -> str:
    """No memory dumps, files of at most `room` bytes, no more of anything than a model needs."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, room)
    _lower(resource.RLIMIT_NOFILE, _FILES)
    for name in ("RLIMIT_MSGQUEUE", "RLIMIT_RTPRIO"):
        if hasattr(resource, name):
            _lower(getattr(resource, name), 0)
    if own_user:
        _lower(resource.RLIMIT_NPROC, _THREADS)
    memory = _memory()
    if memory is not None:
        _lower(resource.RLIMIT_DATA, int(memory * _SHARE))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_EXPENDABLE))
    return "memory, size of files, descriptors, no memory dumps"


def _lower(kind: int, most: int) -> None:
    """Never above what there was: that would need a privilege."""
    known = [value for value in resource.getrlimit(kind) if value != resource.RLIM_INFINITY]
    least = min([most, *known])
    resource.setrlimit(kind, (least, least))


def _memory() -> int | None:
    """Bytes that all processes here have together, swap included; None if nothing says."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = [line.split() for line in lines if line.startswith(("MemTotal:", "SwapTotal:"))]
        found.append(sum(int(words[1]) * 1024 for words in sizes))
    for group in _GROUPS:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path(group).read_text()))
    return min(found) if found else None
