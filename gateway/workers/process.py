"""The door to one worker: a child process, its channel and what it prints.

Everything on the event loop is a callback, none of it a task: a frame goes out by `predict` and
its answers come back by the callback given with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, cast

import msgspec

from gateway.errors import GatewayError, LoadError, ModelError
from gateway.workers import wire
from gateway.workers.containment import Scratch
from gateway.workers.launch import FORBIDDEN_CALL, Child, Launch, NotStarted, said
from gateway.workers.output import Output
from gateway.workers.wire import (
    Attempt,
    BrokenFrame,
    Failed,
    Hello,
    Imported,
    Imports,
    RawAnswer,
    Ready,
    Told,
    Unfit,
)

_LENGTH = struct.Struct(">I")
_ANSWER = ord("A")
_MIB = 1024**2
#: After its death, how long the last bytes of a worker may take to be read.
_LAST_BYTES = 0.5

Answered = Callable[[list[RawAnswer]], None]


class LoadTooSlow(LoadError):
    """Loading took longer than it may."""


class NeedsCold(GatewayError):
    """A spare cannot stand in for a newly started worker here; nothing is wrong with either."""


class Worker(asyncio.Protocol):
    """Owns one child from start to burial. Knows nothing of branches, queues or deadlines.

    `on_lost` is called when it can no longer be spoken to, and
    `on_end` is called once, when the process is gone and reaped, unless `stop` was asked for.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        logged: Callable[[Told], None],
        line: Callable[[str], None],
        dropped: Callable[[int], None],
    ) -> None:
        self.on_lost: Callable[[], None] | None = None
        self.on_end: Callable[[], None] | None = None
        self.why = ""
        self.too_slow = False
        self._launch = launch
        self._logged = logged
        self._loop = asyncio.get_running_loop()
        self._output = Output(line, dropped)
        self._output.on_close = self._maybe_over
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._child: Child | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = bytearray()
        self._needed = 0
        self._answered: Answered | None = None
        self._expected = 0
        #: What bounds its memory, in words.
        self._may_have = ""
        self._said: asyncio.Future[msgspec.Struct] | None = None
        self._code: int | None = None
        self._lost = False
        self._stopping = False

    # -- starting ---------------------------------------------------------------------------

    async def start(self) -> Hello:
        """A child that has said hello; NotStarted, and nothing left behind, if it does not."""
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        printed = os.fdopen(read, "rb", 0)
        started: asyncio.Future[OSError | None] = self._loop.create_future()
        said_hello = self._said = self._loop.create_future()
        self._child = Child(self._launch, theirs, write, self._from_thread(started), self._on_exit)
        try:
            self._child.start()
            ours.setblocking(False)
            await self._loop.connect_read_pipe(lambda: self._output, printed)
            await self._loop.create_unix_connection(lambda: self, sock=ours)
            failure = await asyncio.shield(started)
            if failure is not None:
                self._code = -1
                self._close()
                raise NotStarted(f"a worker could not be started: {failure}") from failure
            async with asyncio.timeout(self._launch.hello_deadline):
                hello = await said_hello
        except BaseException as error:
            await self._abandon()
            if self._transport is None:
                ours.close()
                printed.close()
            if isinstance(error, (TimeoutError, LoadError, BrokenFrame)):
                raise NotStarted(f"a worker did not come up: {self.why or error}") from error
            raise
        if not isinstance(hello, Hello):
            await self._abandon()
            raise NotStarted("a worker did not come up: it did not say hello")
        return hello

    def _from_thread(
        self, started: asyncio.Future[OSError | None]
    ) -> Callable[[OSError | None], None]:
        def tell(error: OSError | None) -> None:
            self._soon(lambda: None if started.done() else started.set_result(error))

        return tell

    def _soon(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def report_to(
        self,
        *,
        logged: Callable[[Told], None],
        line: Callable[[str], None],
        dropped: Callable[[int], None],
    ) -> None:
        """From now on it speaks for somebody else."""
        self._logged = logged
        self._output.report_to(line, dropped)

    def confinement(self, *, network: bool, room: int) -> wire.Confinement:
        """What it is told of how to contain itself, once it has said hello."""
        scratch = self._child.scratch if self._child is not None else Scratch()
        return scratch.confinement(self._launch.containment.sandbox, network=network, room=room)

    async def warm(self, modules: Sequence[str], deadline: float) -> Imported:
        """Import these; NotStarted if that does not go well. `load` may follow."""
        try:
            answer = await self._asked(wire.imports_frame(Imports(modules)), deadline)
        except (TimeoutError, LoadError) as error:
            raise NotStarted(f"a spare did not come up: {self.why or 'too slow'}") from error
        if not isinstance(answer, Imported):
            raise NotStarted(f"a spare did not come up: it said {type(answer).__name__}")
        return answer

    async def load(self, what: wire.LoadOrder, deadline: float) -> Ready:
        """LoadError when the branch's content is at fault, NotStarted when the machine is."""
        if what.memory is not None:
            size = f"{what.memory}B" if what.memory < _MIB else f"{what.memory / _MIB:.0f}MiB"
            self._may_have = f"{size} of memory, by the branch's `memory` or limits.worker_memory"
        try:
            answer = await self._asked(wire.load_frame(what), deadline)
        except TimeoutError:
            self.kill()
            raise LoadTooSlow(f"did not finish loading within {deadline:g} s") from None
        if isinstance(answer, Ready):
            return answer
        if isinstance(answer, Unfit):
            raise NeedsCold(answer.reason)
        if isinstance(answer, Failed) and answer.type == "Uncontained":
            raise NotStarted(answer.message)
        if isinstance(answer, Failed) and answer.type == "MemoryError" and not self._may_have:
            raise NotStarted(f"out of memory while loading: {answer.message}")
        if isinstance(answer, Failed):
            error = LoadError(answer.message)
            if answer.type == "MemoryError":
                error = LoadError(f"a worker may have {self._may_have}: {answer.message}")
            error.add_note(answer.traceback)
            raise error
        raise LoadError("said hello twice")

    async def _asked(self, frame: bytes, deadline: float) -> msgspec.Struct:
        said: asyncio.Future[msgspec.Struct] = self._loop.create_future()
        self._said = said
        self._write(frame)
        async with asyncio.timeout(deadline):
            return await said

    # -- predicting -------------------------------------------------------------------------

    def predict(
        self, payloads: Sequence[bytes], deadlines: Sequence[float], answered: Answered
    ) -> None:
        """Send one frame; one at a time. `answered` gets as many answers, or `on_end` comes."""
        self._answered = answered
        self._expected = len(payloads)
        self._write(wire.predict_frame(payloads, deadlines))

    async def ask(self, payload: bytes, deadline: float) -> RawAnswer:
        """One request outside any queue. ModelError if the worker ends or is late."""
        return (await self.ask_all([payload], deadline))[0]

    async def ask_all(self, payloads: Sequence[bytes], deadline: float) -> list[RawAnswer]:
        """The same of several requests in one frame; ModelError concerns them all."""
        answer: asyncio.Future[list[RawAnswer]] = self._loop.create_future()
        # Whether it is late is seen here: a worker that skipped it would show nothing.
        untimed = [inf] * len(payloads)
        self.predict(
            payloads, untimed, lambda raw: None if answer.done() else answer.set_result(raw)
        )
        either: list[asyncio.Future[Any]] = [answer, self._ended]
        await asyncio.wait(either, timeout=deadline, return_when="FIRST_COMPLETED")
        if answer.done():
            return answer.result()
        answer.cancel()
        raise ModelError(self.why or f"no answer within {deadline:g} s")

    # -- ending -----------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None else 0

    @property
    def busy(self) -> bool:
        """Whether a frame is with it."""
        return self._answered is not None

    @property
    def ended(self) -> bool:
        """Whether the process is gone and reaped."""
        return self._ended.done()

    @property
    def tail(self) -> list[str]:
        """The last lines it printed."""
        return list(self._output.tail)

    def kill(self, *, too_slow: bool = False) -> None:
        """SIGKILL to its group; the end is told as any other."""
        self.too_slow = self.too_slow or too_slow
        if self._child is not None:
            self._child.kill()

    def step_back(self) -> None:
        """Yield the processor to all others from now on; it cannot be taken back."""
        if self._child is not None:
            self._child.step_back()

    async def stop(self) -> None:
        """Close the channel, then SIGTERM, then SIGKILL; returns when it is reaped."""
        self._stopping = True
        try:
            self._close()
            for number in (15, 9):
                done, _ = await asyncio.wait([self._ended], timeout=self._launch.grace)
                if done or self._child is None:
                    return
                self._child.kill(number)
            await asyncio.wait([self._ended])
        except BaseException:
            self.kill()
            raise

    async def _abandon(self) -> None:
        self._stopping = True
        self.kill()
        self._close()
        if self._code is None and self._child is not None:
            await asyncio.wait([self._ended], timeout=self._launch.grace)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # -- what the loop calls ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not by isinstance: uvloop's transports do not derive from asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._needed:
                return
            data = bytes(buffer)
            buffer.clear()
        try:
            start = self._messages(data)
        except (BrokenFrame, msgspec.DecodeError) as error:
            self._breach(str(error))
            return
        if start < len(data):
            buffer += data[start:]

    def _messages(self, data: bytes) -> int:
        """Handle the whole messages in `data`; where the first incomplete one begins."""
        start, size = 0, len(data)
        while size - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, start)
            if not 0 < length <= wire.LONGEST:
                raise BrokenFrame(f"a message of {length} bytes")
            end = start + _LENGTH.size + length
            if end > size:
                self._needed = end - start
                return start
            self._message(data[start + _LENGTH.size : end])
            start = end
        self._needed = _LENGTH.size
        return start

    def _message(self, message: bytes) -> None:
        if message[0] == _ANSWER:
            answered, self._answered = self._answered, None
            if answered is None:
                raise BrokenFrame("an answer that nobody asked for")
            answered(wire.answers(message, self._expected))
            return
        kind: Any = wire.KINDS.get(message[:1])
        if kind is None:
            raise BrokenFrame(f"a message of kind {message[:1]!r}")
        content = msgspec.json.decode(message[1:], type=kind)
        if isinstance(content, Told):
            self._logged(content)
        elif self._said is None or self._said.done():
            raise BrokenFrame(f"{kind.__name__} out of turn")
        else:
            self._said.set_result(content)

    def _breach(self, what: str) -> None:
        self.why = f"branch code wrote on the gateway's channel: {what}"
        self.kill()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if not self._stopping:
            self.kill()  # it cannot be spoken to any more
            if self.on_lost is not None:
                self.on_lost()
        self._maybe_over()

    def _on_exit(self, code: int) -> None:
        def over() -> None:
            self._code = code
            self._loop.call_later(_LAST_BYTES, self._over)
            self._maybe_over()

        self._soon(over)

    def _maybe_over(self) -> None:
        if self._code is not None and self._lost and self._output.closed:
            self._over()

    def _over(self) -> None:
        """Gone, and its last words read: tell whoever waits, once."""
        if self._ended.done():
            return
        self._ended.set_result(None)
        self._close()
        self._output.close()
        verdict = self._child.verdict if self._child is not None else None
        self.why = self.why or f"the worker {verdict or said(self._code or 0)}"
        if verdict or self._code == -signal.SIGSYS:
            self._logged(Attempt(verdict or FORBIDDEN_CALL, 1))
        if self._said is not None and not self._said.done():
            self._said.set_exception(self._end_while_waiting())
            self._said.exception()  # nobody may be waiting any more
        if self.on_end is not None and not self._stopping:
            self.on_end()

    def _end_while_waiting(self) -> Exception:
        ours = self.too_slow or "channel" in self.why or "scratch folder" in self.why
        if self._code == -9 and not ours:
            return NotStarted(f"{self.why} while loading: out of memory?")
        hint = f"; it may have {self._may_have}" if self._may_have else ""
        return LoadError(f"{self.why} while loading{hint}")

    def _write(self, frame: bytes) -> None:
        """To a child that is gone nothing is written: its end is told by `on_end`."""
        if self._transport is not None and not self._transport.is_closing():
            try:
                self._transport.write(frame)
            except RuntimeError:
                # uvloop, between the breaking of the connection and the telling of it.
                self.kill()
