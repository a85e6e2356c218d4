"""A git server over http or https for tests: `git http-backend` behind Basic authentication.

It counts what it is asked and what it answers, and can be unwell on demand: answer something else
(`instead`), or hold its answers back (`held`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import trustme
import uvicorn
from waiting import wait_until

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: `path` without its query, and the Authorization header as it came."""

    method: str
    path: str
    query: str
    authorization: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that git http-backend did not give."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class _Gate:
    """Holds the requests it wants until it is opened."""

    def __init__(self, wanted: Callable[[Asked], bool]) -> None:
        self.wanted = wanted
        self.opened = asyncio.Event()


class GitHttp:
    """Serves the bare repositories of a folder on a free port of 127.0.0.1, in a thread.

    `password` and `instead` may change at any time; without a password it asks for none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        username: str = "git",
        password: str | None = None,
        authority: trustme.CA | None = None,
    ) -> None:
        """With an `authority` it speaks TLS, with a certificate of that authority."""
        self.folder = folder
        self.username = username
        self.password = password
        self.instead: Callable[[Asked], Reply | None] = lambda asked: None
        self.asked: list[Asked] = []
        self.sent_bytes = 0
        #: Requests that are held back at this moment.
        self.waiting = 0
        self._gate: _Gate | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._scheme = "http" if authority is None else "https"
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        if authority is not None:
            certificate = folder / f".certificate-{self._listener.getsockname()[1]}.pem"
            issued = authority.issue_cert("127.0.0.1", "localhost")
            issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
            config.ssl_certfile = certificate
        self._loop = asyncio.new_event_loop()
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="githttp", daemon=True)

    @property
    def requests(self) -> int:
        return len(self.asked)

    @property
    def address(self) -> str:
        """`scheme://host:port`."""
        return f"{self._scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def url(self, repository: Path) -> str:
        return f"{self.address}/{repository.relative_to(self.folder)}"

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._server.started or not self._thread.is_alive())
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._listener.close()

    @contextlib.contextmanager
    def held(self, wanted: Callable[[Asked], bool] = lambda asked: True) -> Iterator[None]:
        """Hold the answers to such requests back until the block ends."""
        gate = self._gate = _Gate(wanted)
        try:
            yield
        finally:
            self._gate = None
            self._loop.call_soon_threadsafe(gate.opened.set)

    def _run(self) -> None:
        # It ends what is just being accepted, too, which would be another test's warning.
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._server.serve(sockets=[self._listener]))

    # One request

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        authorization = headers.get("authorization")
        query = scope["query_string"].decode()
        asked = Asked(scope["method"], scope["path"], query, authorization)
        self.asked.append(asked)
        body = await _body(receive)
        gate = self._gate
        if gate is not None and gate.wanted(asked):
            self.waiting += 1
            try:
                await gate.opened.wait()
            finally:
                self.waiting -= 1
        reply = self.instead(asked) or self._refusal(asked)
        if reply is None:
            await self._git(asked, headers, body, send)
        else:
            await self._start(send, reply.status, dict(reply.headers))
            await self._piece(send, reply.body, more=False)

    def _refusal(self, asked: Asked) -> Reply | None:
        if self.password is None:
            return None
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if asked.authorization == f"Basic {pair}":
            return None
        return Reply(401, b"who are you?\n", {"WWW-Authenticate": 'Basic realm="git"'})

    async def _git(self, asked: Asked, headers: dict[str, str], body: bytes, send: Any) -> None:
        child = await asyncio.create_subprocess_exec(
            *("git", "http-backend"),
            env=self._environment(asked, headers, len(body)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            limit=_PIECE,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        feeding = asyncio.create_task(_feed(child.stdin, body))
        try:
            head = (await child.stdout.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            named = dict(line.split(": ", 1) for line in head if line)
            status = int(named.pop("Status", "200").split()[0])
            await self._start(send, status, named)
            while piece := await child.stdout.read(_PIECE):
                await self._piece(send, piece, more=True)
            await self._piece(send, b"", more=False)
        except BaseException:
            # Not by `child.kill`, which would also reap it, and leave asyncio without its end.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            raise
        finally:
            feeding.cancel()
            await child.wait()

    def _environment(self, asked: Asked, headers: dict[str, str], length: int) -> dict[str, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.devnull,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": asked.method,
            "PATH_INFO": asked.path,
            "QUERY_STRING": asked.query,
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(length),
            "REMOTE_USER": self.username,
            "REMOTE_ADDR": "127.0.0.1",
        }
        for header, name in (
            ("content-encoding", "HTTP_CONTENT_ENCODING"),
            ("git-protocol", "GIT_PROTOCOL"),
        ):
            if header in headers:
                environment[name] = headers[header]
        return environment

    async def _start(self, send: Any, status: int, headers: dict[str, str]) -> None:
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})

    async def _piece(self, send: Any, body: bytes, *, more: bool) -> None:
        self.sent_bytes += len(body)
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _body(receive: Any) -> bytes:
    """All of it, before anything is answered: git sends while it does not listen."""
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _feed(pipe: asyncio.StreamWriter, body: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        pipe.write(body)
        await pipe.drain()
        pipe.close()
