"""The body of a request that comes as ASGI events: whole, and bounded in size.

Its time is bounded by the connection (`web/connection`).
"""

from __future__ import annotations

from starlette.types import Receive, Scope

from gateway.errors import BodyTooLarge
from gateway.web.units import header


class ClientGone(Exception):
    """The caller hung up before its body was whole: there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytearray:
    """All of it, at most `limit` bytes; BodyTooLarge or ClientGone."""
    declared = header(scope["headers"], b"content-length")
    if declared and declared.isdecimal() and int(declared) > limit:
        raise BodyTooLarge(f"at most {limit} bytes. Given: {declared}", where="body")
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge(f"at most {limit} bytes. Given: more", where="body")
        if not message.get("more_body", False):
            return body
