"""Keeping other processes of the same user out of this one, where nothing else does.

A process of one's own user may read one's memory, environment and descriptors in /proc. Landlock
keeps workers from that. Where the kernel has none, the process closes itself: to debuggers of that
user too, which is why it is done only there.
"""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4
_LANDLOCK_CREATE_RULESET, _VERSION = 444, 1


def shield() -> bool:
    """Whether this process closed itself."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    call = ctypes.c_long(_LANDLOCK_CREATE_RULESET)
    if libc.syscall(call, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)) > 0:
        return False
    return bool(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
