"""A repository behind `git daemon`, and a line to it that breaks when a push has arrived."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

from gitrepo import Remote
from gitrepo import git as person
from ports import free_port
from waiting import wait_until


def _answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def git_daemon(remote: Remote, environment: Mapping[str, str]) -> Iterator[int]:
    """The port of a daemon that serves the remote as a forge does, for reading and pushing."""
    port = free_port()
    person(remote.path, "config", "uploadpack.allowFilter", "true")
    child = subprocess.Popen(
        [
            "git",
            "-c",
            "safe.directory=*",
            "daemon",
            "--listen=127.0.0.1",
            f"--port={port}",
            f"--base-path={remote.path.parent}",
            "--export-all",
            "--enable=receive-pack",
            "--reuseaddr",
        ],
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: _answers(port), describe=child.poll)
        yield port
    finally:
        os.killpg(child.pid, 15)
        child.wait()


class BreakingLine(socketserver.ThreadingTCPServer):
    """A proxy before a git daemon that loses the acknowledgement of the pushes `breaks` names.

    Such a push is handed to the daemon whole and done by it; then the connection ends.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, daemon: int, breaks: Callable[[int], bool]) -> None:
        """`breaks` is asked with the number of the push connection, from 1."""
        super().__init__(("127.0.0.1", 0), _Connection)
        self.daemon = daemon
        self.breaks = breaks
        self.port: int = self.server_address[1]
        #: Pushes that were begun, and acknowledgements that were lost.
        self.pushes = 0
        self.lost = 0
        self._acts: queue.SimpleQueue[tuple[Callable[[], object], Future[object]]]
        self._acts = queue.SimpleQueue()
        self._counting = threading.Lock()

    def before_the_next_push(self, act: Callable[[], object]) -> Future[object]:
        """Have `act` done between the last look that the pusher took and its push."""
        future: Future[object] = Future()
        self._acts.put((act, future))
        return future

    def let_others_act(self) -> None:
        with contextlib.suppress(queue.Empty):
            act, future = self._acts.get_nowait()
            try:
                future.set_result(act())
            except BaseException as error:
                future.set_exception(error)

    def is_to_break(self) -> bool:
        with self._counting:
            self.pushes += 1
            return self.breaks(self.pushes)

    @contextmanager
    def running(self) -> Iterator[BreakingLine]:
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join(20)


class _Connection(socketserver.BaseRequestHandler):
    server: BreakingLine
    request: socket.socket

    def handle(self) -> None:
        asked = _packet(self.request)
        is_push = asked[4:].startswith(b"git-receive-pack")
        if is_push:
            self.server.let_others_act()
        with (
            socket.create_connection(("127.0.0.1", self.server.daemon)) as daemon,
            contextlib.suppress(ConnectionError),
        ):
            daemon.sendall(asked)
            to_daemon = threading.Thread(target=_copy, args=(self.request, daemon), daemon=True)
            to_daemon.start()
            if is_push and self.server.is_to_break():
                self._swallow_the_report(daemon)
            else:
                _copy(daemon, self.request)
            with contextlib.suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)
            to_daemon.join(20)

    def _swallow_the_report(self, daemon: socket.socket) -> None:
        """Pass on what the daemon says of its refs, and nothing of what it says after a push."""
        while (packet := _packet(daemon)) not in (b"0000", b""):
            self.request.sendall(packet)
        self.request.sendall(packet)
        report = 0
        while part := daemon.recv(65536):
            report += len(part)
        self.server.lost += report > 0


def _packet(source: socket.socket) -> bytes:
    """One packet of git's protocol with its length; b"" at the end."""
    length = _exactly(source, 4)
    return length + _exactly(source, max(int(length, 16) - 4, 0)) if length else b""


def _exactly(source: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = source.recv(size - len(parts))
        if not part:
            return b""
        parts += part
    return parts


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
