"""Ports for servers that are told theirs before they start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

#: On Linux, the first and the last of the ports that the system hands out by itself.
_HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
#: Below all that other systems hand out.
_USUAL_FIRST = 32768
_LOWEST = 10000
_FEWEST = 1000
_TRIES = 200


def free_port() -> int:
    """A port of this machine that nobody listens on now, and that nobody is given unasked.

    Where the system's own choice would do for now, it may give the same to another connection
    before the server has begun to listen, or while it is started anew.
    """
    chance = random.SystemRandom()
    below = _first_handed_out()
    for _ in range(_TRIES if below - _LOWEST >= _FEWEST else 0):
        port = chance.randrange(_LOWEST, below)
        if _is_free(port):
            return port
    with socket.create_server(("127.0.0.1", 0)) as probe:
        found: int = probe.getsockname()[1]
        return found


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def _first_handed_out() -> int:
    try:
        return int(_HANDED_OUT.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_FIRST
