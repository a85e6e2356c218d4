"""POST /predict as an ASGI application: for the few requests that have no short way.

Those are pipelined ones, HTTP/1.0, callers that ask before they send a body, and what names a
branch in its path or query.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send

from gateway.errors import RequestError
from gateway.web.bodies import ClientGone, read_body
from gateway.web.overrides import asked_in
from gateway.web.predict import Predict


class PredictApplication:
    """Gives `Predict` a whole body, and its response to the server."""

    #: `Predict` itself asks whose request it is.
    asks_guard = True

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
            asked = asked_in(scope)
            body = await read_body(scope, receive, predict.most_bytes)
        except ClientGone:
            return
        except RequestError as error:
            predict.refuse(error, respond)
        else:
            predict.begin(scope["headers"], body, respond, scope.get("client"), asked)
        await _send(send, *await answered)


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
