"""Runs a program where the kernel has no Landlock: `python without_landlock.py PROGRAM …`.

A filter of system calls answers for it, as a kernel does that never heard of it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from pathlib import Path

CREATE_RULESET = 444  # on every architecture
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2


class Program(ctypes.Structure):
    """What the kernel takes."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def main() -> None:
    steps = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, CREATE_RULESET),
        (0x06, 0, 0, ERRNO | errno.ENOSYS),
        (0x06, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = Program(len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        SET_SECCOMP, FILTER, ctypes.byref(program)
    ):
        raise SystemExit(os.strerror(ctypes.get_errno()))
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()

#: To be put before a command.
PREFIX = [sys.executable, str(Path(__file__).resolve())]
