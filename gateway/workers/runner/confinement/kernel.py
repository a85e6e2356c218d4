"""System calls that Python has no function for."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


def call(number: int, *given: object) -> int:
    """The kernel's answer; OSError where it refuses."""
    result: int = _LIBC.syscall(ctypes.c_long(number), *given)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, *given: int) -> int:
    """OSError where the kernel refuses."""
    words = [ctypes.c_ulong(value) for value in (*given, 0, 0, 0, 0)[:4]]
    result: int = _LIBC.prctl(option, *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def other_threads() -> int:
    """How many threads there are besides this one, native ones too; 0 where nothing says."""
    try:
        return len([*Path("/proc/self/task").iterdir()]) - 1
    except OSError:
        return 0
