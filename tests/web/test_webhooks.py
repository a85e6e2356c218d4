"""Who is believed to be the git server, and that believing it costs one poll at most."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from waiting import wait_until

from gateway.access.rate import TokenBucket
from gateway.metrics import WEBHOOKS, Metrics
from gateway.web.webhooks import LARGEST_BODY, Webhooks

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "webhooks.json").read_text())
SECRET: str = VECTORS["secret"]
MIB = b"x" * 1024**2


def signature(body: bytes, secret: str = SECRET) -> dict[str, str]:
    mac = hmac.new(secret.encode(), body, hashlib.sha256)
    return {"X-Hub-Signature-256": f"sha256={mac.hexdigest()}"}


class Endpoint:
    """The endpoint behind a real server; `looks` counts what it set off, `at` is its clock."""

    def __init__(self, secret: str | None = SECRET, patience: float = 20.0) -> None:
        self.looks = 0
        self.at = 0.0
        self.metrics = Metrics()
        self.webhooks = Webhooks(
            secret.encode() if secret is not None else None,
            self._look,
            self.metrics,
            patience=patience,
            clock=lambda: self.at,
        )
        self.port = 0

    def _look(self) -> None:
        self.looks += 1

    def post(self, body: Any, headers: Any = None) -> httpx.Response:
        return httpx.post(self.url, content=body, headers=headers or {}, timeout=30)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhooks/git"

    def counts(self) -> dict[str, int]:
        """The results that were counted."""
        found = {
            result: self.metrics.registry.get_sample_value(
                "gateway_webhooks_total", {"result": result}
            )
            for result in WEBHOOKS
        }
        assert None not in found.values()
        return {result: int(count) for result, count in found.items() if count}


@contextmanager
def served(endpoint: Endpoint) -> Iterator[Endpoint]:
    async def git(request: Request) -> Response:
        return await endpoint.webhooks.git(request)

    async def hello(request: Request) -> Response:
        return Response("hello")

    routes = [Route("/webhooks/git", git, methods=["POST"]), Route("/hello", hello)]
    config = uvicorn.Config(Starlette(routes=routes), log_config=None, http="httptools")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield endpoint
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with served(Endpoint()) as running:
        yield running


def word(answer: httpx.Response) -> str:
    body = answer.json()
    return str(body["status"] if answer.status_code == 202 else body["error"]["type"])


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    """One server for all vectors; each puts a fresh endpoint into it."""
    with served(Endpoint()) as running:
        yield running


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_the_published_cases_of_every_forge(server: Endpoint, case: dict[str, Any]) -> None:
    fresh = Endpoint()
    server.webhooks = fresh.webhooks
    body = VECTORS["bodies"][case["body"]].encode()
    headers = [(name.encode(), value.encode()) for name, value in case["headers"].items()]
    answers = [server.post(body, headers) for _ in case["answers"]]
    assert [[a.status_code, word(a)] for a in answers] == case["answers"]
    assert fresh.looks == sum(found == "accepted" for _, found in case["answers"])
    expected = {"unauthorised": "refused"}
    words = [expected.get(found, found) for _, found in case["answers"]]
    assert fresh.counts() == {found: words.count(found) for found in words}
    for answer in answers:
        assert SECRET not in f"{answer.headers}{answer.text}"
        assert (answer.status_code == 401) == ("WWW-Authenticate" in answer.headers)


def test_without_a_secret_every_call_is_told_how_to_configure_one() -> None:
    with served(Endpoint(None)) as endpoint:
        for headers in ({}, signature(b"x", ""), {"X-Gitlab-Token": ""}):
            answer = endpoint.post(b"x", headers)
            assert (answer.status_code, word(answer)) == (404, "not_found")
            assert "webhook: {secret_env: NAME}" in answer.json()["error"]["message"]
        assert endpoint.looks == 0


def test_every_refusal_says_where_it_failed_and_never_what_would_have_been_right(
    endpoint: Endpoint,
) -> None:
    right = signature(b"x")["X-Hub-Signature-256"]
    for headers, where in [
        ({"X-Hub-Signature-256": "sha256=" + "0" * 64}, "header X-Hub-Signature-256"),
        ({"X-Gitea-Signature": "0" * 64}, "header X-Gitea-Signature"),
        ({"X-Forgejo-Signature": "nonsense"}, "header X-Forgejo-Signature"),
        ({"X-Gitlab-Token": "wrong"}, "header X-Gitlab-Token"),
        ({}, None),
    ]:
        error = endpoint.post(b"x", headers).json()["error"]
        assert error["where"] == where
        assert SECRET not in str(error)
        assert right[7:] not in str(error)
        if not headers:
            assert "X-Gitlab-Token" in error["message"]


def test_a_header_given_twice_must_be_right_twice(endpoint: Endpoint) -> None:
    right = signature(b"x")["X-Hub-Signature-256"]
    wrong = "sha256=" + "0" * 64
    for pair in [(right, wrong), (wrong, right)]:
        answer = endpoint.post(b"x", [("X-Hub-Signature-256", value) for value in pair])
        assert answer.status_code == 401
    assert endpoint.looks == 0


def test_an_unsigned_call_is_refused_before_its_body_comes(endpoint: Endpoint) -> None:
    """The body is announced and never sent; only a gateway that waits for it would hang."""
    for headers in ([], ["X-Gitlab-Token: wrong"], ["X-Gitea-Signature: abc123"]):
        assert raw(endpoint, *headers, "Content-Length: 1000").status_code == 401


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(endpoint: Endpoint) -> None:
    answer = raw(endpoint, f"X-Gitlab-Token: {SECRET}", f"Content-Length: {LARGEST_BODY + 1}")
    assert answer.status_code == 413
    assert answer.headers["Connection"] == "close"
    assert endpoint.counts() == {"refused": 1}


def test_the_largest_body_is_read_and_one_byte_more_is_not(endpoint: Endpoint) -> None:
    """In chunks, so that nothing announces the size."""

    def parts(more: bytes) -> Iterator[bytes]:
        for _ in range(25):
            yield MIB
        yield more

    assert len(MIB) * 25 == LARGEST_BODY
    answer = endpoint.post(parts(b""), signature(MIB * 25))
    assert (answer.status_code, word(answer)) == (202, "accepted")
    answer = endpoint.post(parts(b"x"), signature(MIB * 25 + b"x"))
    assert (answer.status_code, word(answer)) == (413, "too_large")
    assert answer.headers["Connection"] == "close"
    assert endpoint.looks == 1
    assert endpoint.counts() == {"accepted": 1, "refused": 1}


def test_a_body_that_stops_in_the_middle_is_given_up() -> None:
    with served(Endpoint(patience=0.2)) as endpoint:
        answer = raw(endpoint, f"X-Gitlab-Token: {SECRET}", "Content-Length: 10", body=b"abc")
        assert answer.status_code == 408
        assert answer.headers["Connection"] == "close"
        error = answer.json()["error"]
        assert error["type"] == "too_slow"
        assert "Given: 3 bytes" in error["message"]
        assert endpoint.looks == 0
        assert endpoint.counts() == {"refused": 1}


def test_a_caller_that_hangs_up_in_the_middle_set_nothing_off(endpoint: Endpoint) -> None:
    with socket.create_connection(("127.0.0.1", endpoint.port)) as caller:
        caller.sendall(request(f"X-Gitlab-Token: {SECRET}", "Content-Length: 10") + b"abc")
    wait_until(lambda: endpoint.counts() == {"refused": 1})
    assert endpoint.looks == 0


def test_a_body_that_is_not_read_does_not_break_the_connection_for_the_next_request(
    endpoint: Endpoint,
) -> None:
    caller = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=20)
    for _ in range(3):
        caller.request("POST", "/webhooks/git", MIB)
        answer = caller.getresponse()
        assert answer.status == 401
        answer.read()
        kept = caller.sock
        caller.request("GET", "/hello")
        assert caller.getresponse().read() == b"hello"
        assert caller.sock is kept
    caller.close()


def test_a_flood_is_limited_before_its_bodies_come_and_set_free_again(endpoint: Endpoint) -> None:
    caller = httpx.Client(timeout=30)
    answers = [
        caller.post(endpoint.url, content=body, headers=signature(body))
        for body in (b"%d" % number for number in range(70))
    ]
    assert [a.status_code for a in answers] == [202] * 60 + [429] * 10
    assert word(answers[-1]) == "too_many"
    assert answers[-1].headers["Retry-After"] == "1"
    assert raw(endpoint, f"X-Gitlab-Token: {SECRET}", "Content-Length: 10").status_code == 429
    # Who proves nothing takes nothing from those who can.
    assert caller.post(endpoint.url, content=b"x").status_code == 401
    endpoint.at += 0.1
    body = b"later"
    assert caller.post(endpoint.url, content=body, headers=signature(body)).status_code == 202
    assert caller.post(endpoint.url, content=body, headers=signature(body)).status_code == 429
    assert endpoint.looks == 61
    assert endpoint.counts() == {"accepted": 61, "limited": 12, "refused": 1}
    caller.close()


def test_a_push_to_and_fro_in_gitlab_is_no_replay(endpoint: Endpoint) -> None:
    """Its body is the same the second time; only the delivery is another."""
    for delivery, found in [("a", "accepted"), ("b", "accepted"), ("a", "replayed")]:
        headers = {"X-Gitlab-Token": SECRET, "X-Gitlab-Event-UUID": delivery}
        assert word(endpoint.post(b"to and fro", headers)) == found


def test_another_delivery_id_does_not_make_a_signed_body_new(endpoint: Endpoint) -> None:
    for delivery, found in [("a", "accepted"), ("b", "replayed")]:
        headers = {"X-GitHub-Delivery": delivery, "X-Gitlab-Event-UUID": delivery}
        assert word(endpoint.post(b"x", {**signature(b"x"), **headers})) == found


def test_what_is_remembered_of_replays_is_bounded(endpoint: Endpoint) -> None:
    caller = httpx.Client(timeout=30)

    def send(number: int) -> str:
        endpoint.at += 1
        body = b"%d" % number
        return word(caller.post(endpoint.url, content=body, headers=signature(body)))

    assert {send(number) for number in range(4096)} == {"accepted"}
    assert send(0) == "replayed"
    assert send(4096) == "accepted"
    assert send(0) == "replayed", "it was seen a moment ago"
    assert send(1) == "accepted", "the one that was not seen for longest made room"
    assert len(endpoint.webhooks._accepted) == 4096
    caller.close()


def test_only_a_post_is_taken(endpoint: Endpoint) -> None:
    assert httpx.get(endpoint.url).status_code == 405


def test_the_status_page_says_when_a_push_was_announced_last(endpoint: Endpoint) -> None:
    assert endpoint.webhooks.status() == {"last_webhook": None}
    endpoint.post(b"ping", {**signature(b"ping"), "X-GitHub-Event": "ping"})
    endpoint.post(b"x", signature(b"y"))
    assert endpoint.webhooks.status() == {"last_webhook": None}
    endpoint.post(b"x", signature(b"x"))
    assert str(endpoint.webhooks.status()["last_webhook"]).endswith("Z")


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    at = [0.0]
    bucket = TokenBucket(2.0, 3, lambda: at[0])
    take: Callable[[], float] = bucket.take
    at[0] = 1000.0
    assert [take() for _ in range(4)] == [0, 0, 0, 0.5]
    at[0] += 0.25
    assert take() == 0.25
    at[0] += 0.25
    assert take() == 0


def request(*headers: str) -> bytes:
    lines = ["POST /webhooks/git HTTP/1.1", "Host: gateway", *headers, "", ""]
    return "\r\n".join(lines).encode()


def raw(endpoint: Endpoint, *headers: str, body: bytes = b"") -> httpx.Response:
    """Send as much of a request as is given, and wait for the answer."""
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as caller:
        caller.sendall(request(*headers) + body)
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
