"""POST /predict as an ASGI application: for the few requests that have no short way.

Those are pipelined ones, HTTP/1.0, and callers that ask before they send a body.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send

from gateway.errors import BodyTooLarge, RequestError
from gateway.web.predict import Predict
from gateway.web.units import header


class ClientGone(Exception):
    """The caller hung up before its body was whole: there is nobody to answer."""


class PredictApplication:
    """Gives `Predict` a whole body, and its response to the server."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        predict = self._predict
        answered: asyncio.Future[tuple[int, bytes, bytes]]
        answered = asyncio.get_running_loop().create_future()

        def respond(*response: Any) -> None:
            if not answered.done():  # else its caller has gone
                answered.set_result(response)

        try:
            body = await _read_body(scope, receive, predict.most_bytes)
        except ClientGone:
            return
        except RequestError as error:
            predict.refuse(error, respond)
        else:
            predict.begin(scope["headers"], body, respond)
        await _send(send, *await answered)


async def _read_body(scope: Scope, receive: Receive, limit: int) -> bytearray:
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


async def _send(send: Send, status: int, lines: bytes, body: bytes) -> None:
    headers = [tuple(line.split(b": ", 1)) for line in lines.split(b"\r\n") if line]
    length = (b"content-length", b"%d" % len(body))
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json"), length, *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})
