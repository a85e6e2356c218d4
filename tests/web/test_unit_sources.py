"""One user is one unit, wherever the id stands; two users are two."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from starlette.types import Message

from gateway.access.guard import Guard
from gateway.config import Config
from gateway.errors import NotReady
from gateway.metrics import Metrics
from gateway.names import Branch
from gateway.recording import Exchange, Recorder
from gateway.routing import Routing
from gateway.web.predict import Predict
from gateway.web.predict_asgi import PredictApplication
from gateway.workers.fleet import Fleet

Headers = list[tuple[bytes, bytes]]


class NoWorkers:
    """A fleet whose branches all say at once that they are not ready, a recorder that listens."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.serving = None

    def slot(self, branch: Branch) -> Any:
        return self

    def now(self) -> float:
        return 0.0

    def submit(self, job: Any, **_: Any) -> None:
        raise NotReady("not here", where="prod")

    def failed(self, exchange: Exchange, *_: Any) -> None:
        self.exchanges.append(exchange)


def unit(headers: Headers, **body: Any) -> str | None:
    """The recorded unit of a request."""
    config = Config.model_validate(
        {"repository": "r", "baseline": "prod", "branches": {"prod": {"weight": 1}}}
    )
    heard = NoWorkers()
    metrics = Metrics()
    predict = Predict(
        Routing(config, b"k" * 32, {}),
        cast(Fleet, heard),
        cast(Recorder, heard),
        metrics,
        Guard(config, metrics),
    )
    content = json.dumps({"instances": [1], **body}).encode()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": content}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
    asyncio.run(PredictApplication(predict)(scope, receive, send))
    assert sent[0]["status"] == 503
    return heard.exchanges[0].assignment.unit


def by_header(text: str) -> Headers:
    return [(b"x-user-id", text.encode())]


def by_cookie(text: str) -> Headers:
    return [(b"cookie", b"uid=" + text.encode())]


@pytest.mark.parametrize("user", ["17", "ada@example.org", "zoë", "à", "渡辺"])
def test_a_user_is_the_same_unit_in_a_header_and_in_the_body(user: str) -> None:
    assert unit(by_header(user)) == unit([], unit=user) is not None


@pytest.mark.parametrize(("one", "other"), [("userà", "userÅ"), ("x à", "x Å"), ("a", "b")])
def test_two_users_are_two_units(one: str, other: str) -> None:
    """In UTF-8 these end in bytes that are white space in Latin-1."""
    assert unit(by_header(one)) != unit(by_header(other))


@pytest.mark.parametrize(
    "cookies",
    [
        "uid=17",
        "a=1; uid=17; b=2",
        'prefs={"theme":"dark","size":[1,2]}; uid=17',
        "uid=17; consent=a b c; x",
        "name with spaces=1; uid=17",
        "=x; uid=17",
        "uid=17; é=ü",
        'a="unclosed; uid=17',
    ],
)
def test_a_users_cookie_is_found_among_those_of_others(cookies: str) -> None:
    """A whole site shares one Cookie header; what others put in it must not lose the user."""
    assert unit([(b"cookie", cookies.encode())]) == unit(by_header("17"))


def test_the_order_of_sources_is_the_configured_one_and_an_empty_one_is_none() -> None:
    assert unit(by_header("1") + by_cookie("3"), unit="2") == unit(by_header("1"))
    assert unit(by_header("") + by_cookie("3"), unit="2") == unit(by_header("2"))
    assert unit(by_header(" ") + by_cookie("3"), unit="") == unit(by_header("3"))
    assert unit(by_header("") + by_cookie("")) is None
