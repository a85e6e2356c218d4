"""Calls to one Redis: each ends within its deadline, and what goes wrong is a SharedAway.

Owns the connections and the words for their failures. redis-py is imported here alone.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from gateway.errors import StateError, UnavailableError
from gateway.shared.place import Address, RedisSettings
from gateway.shared.scripts import Script

#: Seconds that a call may take, and that a connection may take to be made.
CALL, CONNECT = 2.0, 1.0
_MOST_CONNECTIONS = 32
#: What Redis says of a script besides what went wrong in it; 6.2 does so before it, others after.
_OF_SCRIPTS = re.compile(
    r"^Error running script \(call to f_\w+\): (@user_script: ?\d+: )*-?(OOM |READONLY )?"
    r"|\s+script: .*"
)

Argument = bytes | str | int


class SharedAway(UnavailableError):
    """Redis did not do it: unreachable, slow, loading, read-only, out of memory. Later it may."""


class Calls:
    """One Redis, asked command by command or by scripts. Thread-safe; nothing is tried twice."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._address: Address | None = None
        self._client: redis.Redis | None = None

    def do(self, *command: Argument) -> Any:
        """One command's answer, as bytes and numbers."""
        with self._asked() as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        """A script's answer. Redis may have forgotten the script: then it is told it again."""
        with self._asked() as client:
            try:
                return client.evalsha(script.digest, len(keys), *keys, *arguments)
            except NoScriptError:
                return client.eval(script.text, len(keys), *keys, *arguments)

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.connection_pool.disconnect(inuse_connections=False)

    @contextmanager
    def _asked(self) -> Iterator[redis.Redis]:
        try:
            yield self._connected()
        except AuthenticationError as error:
            # The file may hold another password by now.
            self.close()
            raise self._away(str(error)) from None
        except RedisTimeout as error:
            text = f"{error}: no answer within {CALL:g} s"
            raise self._away(text) from None
        except (RedisError, OSError, StateError, ValueError) as error:
            raise self._away(str(error)) from None

    def _connected(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                self._address = self._settings.address()
                self._client = _client(self._address, self._settings.ca_file)
            return self._client

    def _away(self, text: str) -> SharedAway:
        address = self._address
        for secret in (address.password, address.username) if address is not None else ():
            text = text.replace(secret, "***") if secret else text
        text = " ".join(_OF_SCRIPTS.sub("", text).split())
        return SharedAway(text, where="redis")


class _Timed:
    """A socket on which a command and its answer together have `CALL` seconds, however slowly they
    trickle: a timeout of the socket itself begins anew with every byte.
    """

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self._is_sending = False
        self._until = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def sendall(self, data: bytes) -> None:
        if not self._is_sending:
            self._is_sending = True
            self._until = time.monotonic() + CALL
        self._hurry()
        self._inner.sendall(data)

    def recv(self, most: int) -> bytes:
        self._is_sending = False
        self._hurry()
        return self._inner.recv(most)

    def recv_into(self, buffer: bytearray) -> int:
        self._is_sending = False
        self._hurry()
        return self._inner.recv_into(buffer)

    def _hurry(self) -> None:
        if self._inner.gettimeout() == 0:  # a look whether something came
            return
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._inner.settimeout(left)


class _OnTime:
    """What each kind of connection of redis-py has before it: its socket is a `_Timed`."""

    def _connect(self) -> Any:
        return _Timed(super()._connect())  # type: ignore[misc]


class _Tcp(_OnTime, redis.Connection): ...


class _Tls(_OnTime, redis.SSLConnection): ...


class _Unix(_OnTime, redis.UnixDomainSocketConnection):
    # redis-py asks every connection for them when it counts a failure.
    host, port = "", 0


def _client(address: Address, ca_file: str | None) -> redis.Redis:
    options: dict[str, Any]
    if address.scheme == "unix":
        options = {"connection_class": _Unix, "path": address.path}
    else:
        kind = _Tls if address.scheme == "rediss" else _Tcp
        options = {"connection_class": kind, "host": address.host, "port": address.port}
    if address.scheme == "rediss" and ca_file is not None:
        options["ssl_ca_certs"] = ca_file
    pool = redis.ConnectionPool(
        max_connections=_MOST_CONNECTIONS,
        db=address.db,
        username=address.username,
        password=address.password,
        socket_timeout=CALL,
        socket_connect_timeout=CONNECT,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        # CLIENT SETINFO is of a later Redis.
        driver_info=None,
        **options,
    )
    client = redis.Redis(connection_pool=pool)
    # Answers as Redis gives them, whatever a version of redis-py makes of them.
    client.response_callbacks.clear()
    return client
