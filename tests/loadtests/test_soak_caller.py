"""A caller says what came of its request, whatever came, and connects again where it must."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from loadtests.soak.caller import Caller, question
from loadtests.soak.ledger import CUT_OFF, NO_RETRY_AFTER, NOT_CONNECTED, Outcome, digest

COMMIT = "c" * 40
QUESTION = question({"instances": [[1.5], [2.5]], "unit": "ada"}, {"X-User-Id": "ada"})


def reply(body: object, status: int | str = 200, **headers: str) -> bytes:
    content = json.dumps(body).encode()
    fields = {"Content-Length": str(len(content)), "Gateway-Request-Id": "r1", **headers}
    lines = [f"HTTP/1.1 {status} Some Words", *(f"{n}: {text}" for n, text in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def good(**changes: Any) -> bytes:
    said = {"predictions": [1, "x"], "probabilities": [[0, 1], [1, 0]], "request_id": "r1"}
    body = {**said, "branch": "prod", "commit": COMMIT, **changes}
    return reply(body, **{"Gateway-Commit": COMMIT})


class Server:
    """Answers each request with the next of its answers; None ends the connection."""

    def __init__(self, *answers: bytes | None, ends: bool = False) -> None:
        self._answers = list(answers)
        self._ends = ends
        self.requests: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self._answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if self._ends:
                    break
        except asyncio.IncompleteReadError:
            pass  # the caller is done
        writer.close()


def asked(server: Server, times: int = 1, **how: Any) -> list[Outcome]:
    async def ask(port: int) -> list[Outcome]:
        caller = Caller(port, asyncio.get_running_loop().time)
        found = [await caller.ask(QUESTION, **how) for _ in range(times)]
        await caller.close()
        return found

    return with_server(server, ask)


def with_server(
    server: Server, body: Callable[[int], Coroutine[Any, Any, list[Outcome]]]
) -> list[Outcome]:
    async def run() -> list[Outcome]:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listening:
            return await body(listening.sockets[0].getsockname()[1])

    return asyncio.run(run())


def test_an_answer_is_told_in_full_and_the_connection_kept() -> None:
    server = Server(good(), good())
    first, second = asked(server, 2)
    told = (first.status, first.cause, first.request_id, first.branch, first.commit, first.rows)
    assert told == (200, "", "r1", "prod", COMMIT, 2)
    assert first.predictions == digest(0, b"1") + digest(1, b'"x"')
    assert first.asked <= first.ended <= second.asked
    assert server.connections == 1
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b"X-User-Id: ada" in head
    assert json.loads(body) == {"instances": [[1.5], [2.5]], "unit": "ada"}


def test_a_request_sent_in_pieces_is_the_same_request() -> None:
    server = Server(good())
    assert asked(server, pieces=7, seconds=0.01)[0].status == 200
    assert server.requests == [QUESTION.message]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (good(predictions=[1]), "2 rows were asked for"),
        (good(probabilities=[[0, 1]]), "2 rows were asked for"),
        (good(commit="d" * 40), "disagree about the commit"),
        (good(request_id="r2"), "name two requests"),
        (good(branch=""), "disagree"),
        (reply(["what"], **{"Gateway-Commit": COMMIT}), "another form"),
    ],
)
def test_an_answer_that_is_wrong_has_a_cause(answer: bytes, words: str) -> None:
    (found,) = asked(Server(answer))
    assert found.status == 200
    assert words in found.cause


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (reply({"error": {"type": "timeout"}}, 504), "timeout"),
        (reply({"error": {"type": "unavailable"}}, 503, **{"Retry-After": "1"}), "unavailable"),
        (reply({"error": {"type": "unavailable"}}, 503), NO_RETRY_AFTER),
        (reply("no object", 500), "an error of another form: b'\"no object\"'"),
    ],
)
def test_a_refusal_is_told_by_its_type(answer: bytes, cause: str) -> None:
    (found,) = asked(Server(answer))
    assert (found.cause, found.request_id) == (cause, "r1")


@pytest.mark.parametrize("half", [None, good()[:60], good()[:-5]])
def test_a_connection_that_ends_before_the_answer_does_is_told_and_replaced(
    half: bytes | None,
) -> None:
    server = Server(half, good(), ends=True)
    first, second = asked(server, 2)
    assert (first.status, first.cause) == (0, CUT_OFF)
    assert second.status == 200
    assert server.connections == 2


def test_a_connection_that_ended_between_two_requests_costs_none_of_them() -> None:
    server = Server(good(), good(), ends=True)

    async def ask(port: int) -> list[Outcome]:
        caller = Caller(port, asyncio.get_running_loop().time)
        first = await caller.ask(QUESTION)
        reader, _ = await caller.connect()
        await reader.read()  # until the server has ended it
        second = await caller.ask(QUESTION)
        await caller.close()
        return [first, second]

    assert [each.status for each in with_server(server, ask)] == [200, 200]


def test_a_server_that_says_it_closes_is_not_asked_again_on_that_connection() -> None:
    closing = good().replace(b"Some Words\r\n", b"Some Words\r\nConnection: close\r\n")
    server = Server(closing, good())
    assert [each.status for each in asked(server, 2)] == [200, 200]
    assert server.connections == 2


def test_where_nobody_listens_there_is_no_connection() -> None:
    async def ask() -> Outcome:
        return await Caller(9, asyncio.get_running_loop().time).ask(QUESTION)

    found = asyncio.run(ask())
    assert (found.status, found.cause, found.request_id) == (0, NOT_CONNECTED, "")
