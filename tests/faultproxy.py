"""A bad line to a server on a unix socket: it passes all, until it is cut, slowed, or goes dumb."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Self

from loadtests.ports import free_port

_PIECE = 65536


class FaultProxy:
    """A port on 127.0.0.1 that leads to a unix socket. Each instance has its own faults."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._guard = threading.Lock()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self.port = 0
        #: Seconds that each piece takes more, both ways.
        self.delay = 0.0
        #: Nothing comes through any more, and nobody is told.
        self.is_dumb = False
        #: What is asked arrives, and the line breaks before it is answered.
        self.loses_answers = False
        #: Answers that were lost so.
        self.lost = 0
        self._waker = threading.Event()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """Every connection breaks, and new ones are refused."""
        with self._guard:
            listener, self._listener = self._listener, None
        if listener is not None:
            # Else the thread that accepts would have one more.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.break_connections()

    def break_connections(self) -> None:
        """New ones are taken."""
        with self._guard:
            broken, self._open = self._open, set()
        for one in broken:
            _end(one)

    def mend(self) -> None:
        """All faults are over."""
        self.delay, self.loses_answers = 0.0, False
        if self.is_dumb:
            self.is_dumb = False
            # What was swallowed is missing in them.
            self.break_connections()
        if self._listener is not None:
            return
        # The same after each cut, and nobody's meanwhile.
        self.port = self.port or free_port()
        listener = socket.create_server(("127.0.0.1", self.port))
        with self._guard:
            self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._target))
            except OSError:
                _end(caller)
                server.close()
                continue
            with self._guard:
                if self._listener is not listener:
                    _end(caller)
                    _end(server)
                    return
                self._open |= {caller, server}
            for here, there in ((caller, server), (server, caller)):
                threading.Thread(
                    target=self._pump, args=(here, there, here is server), daemon=True
                ).start()

    def _pump(self, here: socket.socket, there: socket.socket, is_answer: bool) -> None:
        try:
            while piece := here.recv(_PIECE):
                if self.delay:
                    self._waker.wait(self.delay)
                if self.is_dumb:
                    continue
                if is_answer and self.loses_answers:
                    self.lost += 1
                    break
                there.sendall(piece)
        except OSError:
            pass
        with self._guard:
            self._open -= {here, there}
        _end(here)
        _end(there)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
