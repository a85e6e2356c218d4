"""The CSV views: each reads a repository: only some are read at once, and none for a HEAD."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from waiting import wait_until_async

from gateway.errors import GatewayError, RemoteUnavailable
from gateway.layout import Kind
from gateway.names import Branch
from gateway.web.errors import gateway_error
from gateway.web.status import Status
from gateway.web.views import MOST_EXPORTS, Views

PATH = "/branches/{branch:path}/monitoring/{kind}.csv"


class Repository:
    """Gives one row, then waits until it is let go; or cannot be read."""

    def __init__(self) -> None:
        self.read = 0
        self.is_away = False
        self.go_on = threading.Event()

    def export(self, branch: Branch, kind: Kind) -> Iterator[bytes]:
        self.read += 1
        if self.is_away:
            raise RemoteUnavailable("is away")
        yield b"ts\n"
        self.go_on.wait(120)
        yield b"1\n"

    def known(self, text: str) -> Branch:
        return Branch(text)


async def _within_bounds() -> None:
    repository = Repository()
    views = Views(cast(Status, repository), repository.export, Path())
    handlers: Any = {GatewayError: gateway_error}
    app = Starlette(routes=[Route(PATH, views.csv)], exception_handlers=handlers)
    url = "/branches/prod/monitoring/predictions.csv"
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        head = await client.head(url)
        assert (head.status_code, repository.read) == (200, 0)
        assert "predictions.csv" in head.headers["Content-Disposition"]

        repository.is_away = True
        for _ in range(MOST_EXPORTS + 1):
            assert (await client.get(url)).status_code == 502
        repository.is_away, repository.read = False, 0

        under_way = [asyncio.create_task(client.get(url)) for _ in range(MOST_EXPORTS)]
        await wait_until_async(lambda: repository.read == MOST_EXPORTS)
        refused = await client.get(url)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert f"{MOST_EXPORTS} views are being read" in refused.text
        hung_up = under_way.pop()
        hung_up.cancel()  # whoever hangs up makes room, once its last read is over
        repository.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await hung_up
        for answer in await asyncio.gather(*under_way):
            assert answer.text == "ts\n1\n"
        again = [client.get(url) for _ in range(MOST_EXPORTS)]
        assert {one.status_code for one in await asyncio.gather(*again)} == {200}


def test_only_some_are_read_at_once_and_what_fails_or_ends_makes_room() -> None:
    asyncio.run(_within_bounds())
