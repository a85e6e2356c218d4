"""What a browser may do with an answer: no more than show it, unless a page says its own policy."""

from __future__ import annotations

import asyncio

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gateway.web.headers import LINES, SecurityHeaders


async def _plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse("x")


async def _page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("x", headers={"Content-Security-Policy": "script-src 'self'"})


async def _breaks(request: Request) -> PlainTextResponse:
    raise RuntimeError


def test_every_answer_has_them_once_and_a_pages_own_policy_stays() -> None:
    asyncio.run(_have_them())


async def _have_them() -> None:
    inner = Starlette(routes=[Route("/plain", _plain), Route("/page", _page), Route("/b", _breaks)])
    transport = httpx.ASGITransport(SecurityHeaders(inner), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        for path, status in (("/plain", 200), ("/page", 200), ("/nowhere", 404), ("/b", 500)):
            answer = await client.get(path)
            assert answer.status_code == status
            assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            policy = answer.headers.get_list("Content-Security-Policy")
            strict = "default-src 'none'; frame-ancestors 'none'"
            assert policy == ["script-src 'self'" if path == "/page" else strict]


def test_the_lines_of_a_raw_response_say_the_same() -> None:
    assert LINES.count(b"\r\n") == 3
    assert b"content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n" in LINES
