"""The one descriptor to the parent: whole messages in, whole messages out, from any thread.

A process that branch code forks has no part in it: the descriptor is closed on exec, and after a
bare fork every use of it ends that process.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
from collections.abc import Sequence

_LENGTH = struct.Struct(">I")
#: Larger ones are mapped anew for every read in a process that has not yet had larger still.
_READ = 64 * 1024
#: Above what a stray loop over small descriptors reaches; RLIMIT_NOFILE is 1024 almost anywhere.
_OUT_OF_REACH = 700


class Channel:
    """Owns the child's end of the socket pair."""

    def __init__(self, fd: int) -> None:
        try:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_REACH)
            os.close(fd)
        except OSError:
            os.set_inheritable(fd, False)
            moved = fd
        self._socket = socket.socket(fileno=moved)
        self._socket.setblocking(True)
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._read = b""
        os.register_at_fork(after_in_child=self._let_go)

    def _let_go(self) -> None:
        self._socket.close()

    def receive(self) -> bytes | None:
        """The next message; None when the parent has closed its end."""
        if os.getpid() != self._owner:
            os._exit(0)
        data = self._read
        while len(data) < _LENGTH.size:
            more = self._socket.recv(_READ)
            if not more:
                return None
            data = data + more if data else more
        end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        if len(data) >= end:
            self._read = data[end:]
            return data[_LENGTH.size : end]
        self._read = b""
        return self._receive_rest(data, end)

    def _receive_rest(self, data: bytes, end: int) -> bytes | None:
        whole = bytearray(end)
        whole[: len(data)] = data
        view, filled = memoryview(whole), len(data)
        while filled < end:
            count = self._socket.recv_into(view[filled:])
            if count == 0:
                return None
            filled += count
        return bytes(view[_LENGTH.size :])

    def send(self, parts: Sequence[bytes]) -> None:
        """Write one message, the parts joined. Ends the process if it is not the worker."""
        if os.getpid() != self._owner:
            os._exit(0)
        message = b"".join((_LENGTH.pack(sum(map(len, parts))), *parts))
        with self._lock:
            self._socket.sendall(message)

    @property
    def usable(self) -> bool:
        """Whether this process is the one the parent started."""
        return os.getpid() == self._owner
