"""Ports that are known before anybody listens on them."""

from __future__ import annotations

import contextlib
import secrets
import socket

#: Below those that the kernel gives to whoever asks for any, who would take one in between.
_FIRST, _LAST = 15_000, 32_000


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    while True:
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
