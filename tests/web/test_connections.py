"""Connections of every kind, over real sockets: what is answered, and what is ended when.

The server is the gateway's own, with short bounds; behind it a fleet that answers at once.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from waiting import wait_until_async

from gateway.access.guard import Guard
from gateway.config import Config
from gateway.listening import Server
from gateway.metrics import Metrics
from gateway.names import Branch, Commit, Fingerprint
from gateway.recording import Recorder
from gateway.routing import Routing
from gateway.web.connection import Bounds, connections_to
from gateway.web.feedback import Feedback
from gateway.web.predict import PATH, Predict
from gateway.web.predict_asgi import PredictApplication
from gateway.workers.fleet import Fleet
from gateway.workers.jobs import Answer, Job, Serving

LONG = 1000.0
PATIENT = Bounds(idle=LONG, head=LONG, body=LONG, linger=LONG, unread=LONG)
SERVING = Serving(Branch("prod"), Commit("a" * 40), Fingerprint("b" * 32), None, None)
BODY = b'{"instances": [[1]]}'


class Echo:
    """A fleet of one slot that answers each job with its own rows; held ones when told to."""

    def __init__(self) -> None:
        self.serving = SERVING
        self.holds = False
        self.held: list[Job] = []
        self.jobs = 0

    def slot(self, branch: Branch) -> Any:
        return self

    def now(self) -> float:
        return 0.0

    def submit(self, job: Job, **_: Any) -> None:
        self.jobs += 1
        if self.holds:
            self.held.append(job)
        else:
            self.answer(job)

    def answer(self, job: Job) -> None:
        job.future.set_result(Answer(job.payload, b"", b"", 0, SERVING))


class Caller:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(fields.get("content-length", 0)))
        return int(head[0].split()[1]), fields, body

    async def ended(self) -> bytes:
        """Whatever else comes until the server closes."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""


class World:
    def __init__(self, server: Server, port: int, echo: Echo, ending: threading.Event) -> None:
        self.server, self.port, self.echo, self.ending = server, port, echo, ending
        self.callers: list[Caller] = []

    async def caller(self) -> Caller:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self.port))
        self.callers.append(caller)
        return caller

    @property
    def open(self) -> int:
        return len(self.server.server_state.connections)


def post(body: bytes = BODY, *fields: bytes) -> bytes:
    lines = [b"POST /predict HTTP/1.1", b"host: x", b"content-length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@asynccontextmanager
async def serving(bounds: Bounds, **limits: Any) -> AsyncIterator[World]:
    config = Config.model_validate(
        {
            "repository": "r",
            "baseline": "prod",
            "branches": {"prod": {"weight": 1}},
            "limits": limits,
        }
    )
    echo = Echo()
    routing = Routing(config, b"k" * 32, {})
    metrics = Metrics()
    guard = Guard(config, metrics)
    predict = Predict(routing, cast(Fleet, echo), cast(Recorder, echo), metrics, guard)
    feedback = Feedback(
        cast(Recorder, echo),
        predict.metrics,
        metrics=dict,
        outcomes=lambda _: [],
        most_bytes=lambda: predict.most_bytes,
    )
    app = Starlette(
        routes=[
            Route(PATH, PredictApplication(predict), methods=["POST"]),
            Route("/feedback", feedback.take, methods=["POST"]),
            Route("/other", lambda request: PlainTextResponse("other")),
        ]
    )
    ending = threading.Event()
    http = connections_to(predict, ending.is_set, bounds)
    settings = uvicorn.Config(app, http=http, access_log=False, log_config=None, lifespan="off")
    server = Server(settings, ending.set)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    await wait_until_async(lambda: server.started or running.done())
    world = World(server, listener.getsockname()[1], echo, ending)
    try:
        yield world
    finally:
        for caller in world.callers:
            caller.writer.transport.abort()
        server.should_exit = server.force_exit = True
        await running


def run(story: Callable[[World], Awaitable[None]], bounds: Bounds = PATIENT, **limits: Any) -> None:
    async def whole() -> None:
        async with serving(bounds, **limits) as world:
            await asyncio.wait_for(story(world), 60)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


def test_a_connection_takes_one_request_after_another() -> None:
    async def story(world: World) -> None:
        caller = await world.caller()
        for row in range(3):
            caller.send(post(b'{"instances": [[%d]]}' % row))
            status, fields, body = await caller.response()
            assert (status, json.loads(body)["predictions"]) == (200, [[row]])
            assert fields["content-type"] == "application/json"
            assert fields["gateway-request-id"] == json.loads(body)["request_id"]
            assert "connection" not in fields
        caller.send(b"GET /other HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await caller.response())[2] == b"other"
        caller.send(post())
        assert (await caller.response())[0] == 200

    run(story)


def test_no_answer_waits_for_the_acknowledgement_of_another() -> None:
    """The plain asyncio loop with a listener of uvicorn's took 44 ms an answer."""

    async def story(world: World) -> None:
        caller = await world.caller()
        caller.send(post())
        assert (await caller.response())[0] == 200
        (connection,) = world.server.server_state.connections
        taken = cast(Any, connection).transport.get_extra_info("socket")
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1

    run(story)


def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def story(world: World) -> None:
        caller = await world.caller()
        world.echo.holds = True
        many = [post(b'{"instances": [[%d]]}' % row) for row in range(50)]
        caller.send(*many[:25], b"GET /other HTTP/1.1\r\nhost: x\r\n\r\n", *many[25:])
        await wait_until_async(lambda: bool(world.echo.held))
        assert world.echo.jobs == 1  # the next one is not begun before this is answered
        world.echo.holds = False
        world.echo.answer(world.echo.held.pop())
        bodies = [(await caller.response())[2] for _ in range(51)]
        assert bodies.pop(25) == b"other"
        assert [json.loads(body)["predictions"] for body in bodies] == [[[n]] for n in range(50)]

    run(story)


@pytest.mark.parametrize(
    "request_",
    [
        b'POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"ins\r\n',
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n" + BODY[:5],
    ],
    ids=["chunked", "plain"],
)
def test_a_body_may_come_in_pieces(request_: bytes) -> None:
    async def story(world: World) -> None:
        caller = await world.caller()
        caller.send(request_)
        await wait_until_async(lambda: world.open == 1)
        assert world.echo.jobs == 0
        rest = BODY[5:]
        caller.send(
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest) if b"chunked" in request_ else rest
        )
        assert (await caller.response())[0] == 200
        assert world.echo.jobs == 1

    run(story)


def test_a_caller_that_asks_first_is_told_to_go_on() -> None:
    async def story(world: World) -> None:
        caller = await world.caller()
        head, body = post(BODY, b"expect: 100-continue").split(b"\r\n\r\n")
        caller.send(head, b"\r\n\r\n")
        assert (await caller.response())[0] == 100
        caller.send(body)
        assert (await caller.response())[0] == 200

    run(story)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_caller_that_wants_no_other_request_is_closed(version: bytes) -> None:
    async def story(world: World) -> None:
        caller = await world.caller()
        fields = [] if version == b"1.0" else [b"connection: close"]
        caller.send(post(BODY, *fields).replace(b"HTTP/1.1", b"HTTP/" + version))
        assert (await caller.response())[0] == 200
        assert await caller.ended() == b""

    run(story)


def test_when_the_end_is_near_each_answer_says_that_it_is_the_last() -> None:
    async def story(world: World) -> None:
        direct, other = await world.caller(), await world.caller()
        world.ending.set()
        direct.send(post())
        other.send(b"GET /other HTTP/1.1\r\nhost: x\r\n\r\n")
        for caller in (direct, other):
            status, fields, _ = await caller.response()
            assert (status, fields["connection"]) == (200, "close")
            assert await caller.ended() == b""

    run(story)


def test_a_caller_that_hangs_up_harms_nobody() -> None:
    async def story(world: World) -> None:
        world.echo.holds = True
        gone, in_body = await world.caller(), await world.caller()
        gone.send(post())
        in_body.send(post()[:-3])
        await wait_until_async(lambda: bool(world.echo.held))
        for caller in (gone, in_body):
            caller.writer.transport.abort()
        await wait_until_async(lambda: world.open == 0)
        world.echo.holds = False
        world.echo.answer(world.echo.held.pop())
        other = await world.caller()
        other.send(post())
        assert (await other.response())[0] == 200

    run(story)


# Slow ones


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        ("head", b"POST /predict HTTP/1.1\r\nhost"),
        ("body", post()[:-3]),
        ("body", post()[:-3].replace(b"/predict", b"/feedback")),
        ("idle", b""),
    ],
)
def test_who_stops_in_the_middle_is_told_and_ended(part: str, sent: bytes) -> None:
    bounds = Bounds(**{"idle": LONG, "head": LONG, "body": LONG, part: 0.05})  # type: ignore[arg-type]

    async def story(world: World) -> None:
        caller = await world.caller()
        caller.send(sent)
        if part != "idle":
            status, fields, body = await caller.response()
            assert (status, fields["connection"]) == (408, "close")
            assert json.loads(body)["error"] == {
                "type": "too_slow",
                "message": f"the {part} did not come within 0.05 s",
                "where": "request",
            }
        assert await caller.ended() == b""

    run(story, bounds)


def test_a_request_that_is_being_computed_has_no_bound_of_the_connection() -> None:
    async def story(world: World) -> None:
        world.echo.holds = True
        caller, idle = await world.caller(), await world.caller()
        caller.send(post())
        assert await idle.ended() == b""  # all bounds have passed
        world.echo.answer(world.echo.held.pop())
        assert (await caller.response())[0] == 200

    # The caller itself is idle until its request is there.
    run(story, Bounds(idle=2.0, head=0.05, body=0.05))


def test_who_reads_no_answers_is_read_no_more_and_ended() -> None:
    """Else answers would pile up in memory for as long as requests come."""

    async def story(world: World) -> None:
        caller = await world.caller()
        cast(asyncio.Transport, caller.writer.transport).pause_reading()
        body = b'{"instances": [["%s"]]}' % (b"x" * 60000)

        async def flood() -> None:
            while True:
                caller.send(post(body))
                await caller.writer.drain()

        with pytest.raises(ConnectionError):
            await flood()
        # Socket buffers and one turn of the loop, not what could be sent in all that time.
        assert world.echo.jobs < 1000
        await wait_until_async(lambda: world.open == 0)

    run(story, Bounds(unread=0.5))


# Refused ones


def test_a_connection_too_many_is_told_to_come_again() -> None:
    async def story(world: World) -> None:
        kept = [await world.caller() for _ in range(3)]
        for caller in kept:
            caller.send(post())
            assert (await caller.response())[0] == 200
        status, fields, body = await (await world.caller()).response()
        assert (status, fields["retry-after"], fields["connection"]) == (503, "1", "close")
        assert "3 connections are open" in json.loads(body)["error"]["message"]
        kept[0].writer.close()
        await wait_until_async(lambda: world.open < 3)
        later = await world.caller()
        later.send(post())
        assert (await later.response())[0] == 200

    run(story, Bounds(connections=3, linger=0.05))


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (b"\x16\x03\x01 hello\r\n\r\n", 400, "this is not an HTTP request"),
        (b"POST /predict HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400, "not an HTTP request"),
        (post(BODY, *[b"a: 1"] * 300), 431, "more than 256 header fields"),
    ],
    ids=["tls", "length", "fields"],
)
def test_what_is_no_decent_request_is_refused(sent: bytes, status: int, message: str) -> None:
    async def story(world: World) -> None:
        caller = await world.caller()
        caller.send(sent)
        code, fields, body = await caller.response()
        assert (code, fields["connection"]) == (status, "close")
        assert message in json.loads(body)["error"]["message"]
        assert world.echo.jobs == 0

    run(story)


def test_a_head_without_end_is_refused_while_it_comes() -> None:
    async def story(world: World) -> None:
        caller = await world.caller()
        caller.send(b"POST /predict HTTP/1.1\r\n")
        code = 0
        while not code:  # in pieces, as an attacker would
            caller.send(b"a: " + b"x" * 1000 + b"\r\n")
            try:
                code = (await asyncio.wait_for(caller.response(), 0.01))[0]
            except TimeoutError:
                continue
        assert code == 431

    run(story)


def test_a_body_that_is_too_large_is_refused_before_it_is_all_there() -> None:
    """And its sender, still sending, gets to read why: no reset takes the answer away."""

    async def story(world: World) -> None:
        caller = await world.caller()
        caller.send(b"POST /predict HTTP/1.1\r\ncontent-length: 100000000\r\n\r\n")
        for _ in range(100):
            caller.send(b"x" * 100_000)
            await caller.writer.drain()
        status, fields, body = await caller.response()
        assert (status, fields["connection"]) == (413, "close")
        assert "at most 4096 bytes" in json.loads(body)["error"]["message"]
        assert await caller.ended() == b""
        caller.writer.close()
        await wait_until_async(lambda: world.open == 0)

    run(story, body_bytes="4KiB")


def test_who_is_refused_and_does_not_leave_is_ended() -> None:
    async def story(world: World) -> None:
        caller = await world.caller()
        caller.send(b"nonsense\r\n\r\n")
        assert (await caller.response())[0] == 400
        await wait_until_async(lambda: world.open == 0)  # though this side stays open

    run(story, Bounds(linger=0.05))
