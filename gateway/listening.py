"""The listening process: its socket, its signals, and uvicorn between them."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

import uvicorn
import uvloop

from gateway.app import Front
from gateway.config import OperatorConfig
from gateway.errors import StateError
from gateway.web.connection import Bounds, connections_to

log = logging.getLogger(__name__)

#: Seconds between saying that connections end and ending them.
_FAREWELL = 1.0
#: Of uvicorn's clock, ten a second: how often slow connections are looked for.
_TICKS = 10
#: Files open at once for journal, workers, git and the like.
_OWN_FILES = 1024


def bind(config: OperatorConfig) -> socket.socket:
    """A listening socket, so that the port is known, and refused, before anything starts."""
    host, port = config.listen.host, config.listen.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise StateError(f"cannot listen: {error.strerror}", where=config.listen) from error
    listener.setblocking(False)
    return listener


def serve_until_told(build: Callable[[], Front], listener: socket.socket) -> int:
    """Run the front that `build` makes on its loop until a signal ends it; the exit code."""
    # Until the server listens to signals itself, and again after it has raised them once more.
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(build, listener, asked))


def _bounds() -> Bounds:
    """The usual ones, with as many connections as files may be open: some are for ourselves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = Bounds().connections + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return Bounds(connections=max(soft - _OWN_FILES, soft // 2))
    return Bounds()


class Server(uvicorn.Server):
    """Keeps the time of all connections, and tells each caller that its connection ends.

    Were one closed untold, a caller that has just been answered might send its next request into
    a closing connection.
    """

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce: Callable[[], None] | None = announce
        self._loop = asyncio.get_running_loop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is there by now stays. A full collection would look at all of it, and every request
        # would wait for that: [20 to 50 ms; after this 2 µs].
        gc.collect()
        gc.freeze()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0:
            now = self._loop.time()
            for connection in list(self.server_state.connections):
                connection.look(now)  # type: ignore[union-attr]
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        announce, self._announce = self._announce, None
        if announce is None:  # the second signal does not wait
            super().handle_exit(sig, frame)
            return
        announce()
        end = partial(super().handle_exit, sig, frame)
        self._loop.call_soon_threadsafe(self._loop.call_later, _FAREWELL, end)


async def _serve(
    build: Callable[[], Front], listener: socket.socket, asked: threading.Event
) -> int:
    """Run the front until it is told to stop; the process' exit code."""
    front = build()
    certificate = front.given.certificate
    server = Server(
        uvicorn.Config(
            front.app(),
            http=connections_to(front.predict, front.closing.is_set, _bounds()),
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=30,
            ssl_context_factory=None if certificate is None else lambda *_: certificate.context,
        ),
        front.closing.set,
    )
    front.on_give_up = lambda: setattr(server, "should_exit", True)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening on http%s://%s:%d", "s" if certificate else "", shown, port)
    server.should_exit = asked.is_set()
    await server.serve(sockets=[listener])
    return 1 if front.gave_up or not server.started else 0
