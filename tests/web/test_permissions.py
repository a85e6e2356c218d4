"""Every route stands in the one table, behind the guard; a forgotten one is shut, not open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from unittest.mock import MagicMock

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from gateway.access.guard import Guard
from gateway.access.scopes import SCOPES
from gateway.config import Config
from gateway.console.page import Console
from gateway.errors import GatewayError
from gateway.metrics import Metrics
from gateway.web.errors import gateway_error
from gateway.web.openapi.serving import Documentation
from gateway.web.pages import application
from gateway.web.permissions import PERMISSIONS, Guarded, guarded, needed


def guard(**access: Any) -> Guard:
    config = Config.model_validate(
        {
            "repository": "r",
            "baseline": "prod",
            "branches": {"prod": {"weight": 1}},
            "access": {"anonymous": [], **access},
        }
    )
    found = Guard(config, Metrics())
    found.use(())
    return found


@asynccontextmanager
async def _nothing(_: Starlette) -> AsyncIterator[None]:
    yield


def routes() -> list[Route | Mount]:
    """Those of the gateway; its rooms are not asked anything."""
    rooms = {name: MagicMock() for name in ("predict", "health", "webhooks", "operating")}
    rooms |= {name: MagicMock() for name in ("feedback", "experiment", "status", "views")}
    documentation = Documentation(MagicMock()).routes
    names = ("snapshots", "events", "explain", "traffic", "timeline", "intervals", "repository")
    console = Console(**{name: MagicMock() for name in names}).routes
    app = application(
        **cast(Any, rooms),
        documentation=documentation,
        console=console,
        guard=guard(),
        lifespan=_nothing,
    )
    return cast(Any, app)._app.routes  # type: ignore[no-any-return]


def test_the_table_and_the_routes_are_the_same() -> None:
    found = set()
    for route in routes():
        methods = route.methods or {"GET"} if isinstance(route, Route) else {"GET"}
        found |= {(method, route.path) for method in methods if method != "HEAD"}
    assert found == set(PERMISSIONS)


def test_every_route_is_behind_the_guard_or_asks_it_itself() -> None:
    for route in routes():
        assert isinstance(route.app, Guarded) or getattr(route.app, "asks_guard", False), route.path


def test_a_head_needs_what_its_get_needs_and_what_is_forgotten_needs_read() -> None:
    assert needed("HEAD", "/branches") == {"read"}
    assert needed("GET", "/healthz") == frozenset()
    assert needed("GET", "/nowhere/in/the/table") == {"read"}
    assert {scope for scopes in PERMISSIONS.values() for scope in scopes} == set(SCOPES)


def test_a_forgotten_route_and_a_mount_are_shut() -> None:
    asyncio.run(_are_shut())


async def _are_shut() -> None:
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse("open")

    inner = [Route("/forgotten", page), Mount("/static", routes=[Route("/x", page)])]
    app = Starlette(
        routes=guarded(inner, guard()), exception_handlers={GatewayError: gateway_error}
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        for path in ("/forgotten", "/static/x"):
            answer = await client.get(path)
            assert answer.status_code == 401
            challenge = answer.headers["WWW-Authenticate"]
            assert challenge == 'Basic realm="branch gateway", Bearer'


def test_what_cannot_be_put_behind_the_guard_is_refused() -> None:
    with pytest.raises(TypeError, match="behind the guard"):
        guarded([WebSocketRoute("/ws", PlainTextResponse)], guard())
