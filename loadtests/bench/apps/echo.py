"""The floor of HTTP: a bare ASGI application that reads the body and answers fixed bytes.

`python echo.py PORT`. Body and headers are those of a gateway's answer, uvicorn's options are the
gateway's own: what the gateway is slower than this, it spends on what it does.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn
import uvloop

REQUEST_ID = b"01a20a9f-29ba-79d5-80dc-5fa64189782e"
COMMIT = b"2f1d9c0c6a3b5c3f6f0e8f5b1a7d4e9c8b7a6f5e"
BODY = (
    b'{"predictions":[0],"probabilities":[[0.9999999999999871,1.2898094310412136e-14]],'
    b'"request_id":"%s","branch":"prod","commit":"%s"}' % (REQUEST_ID, COMMIT)
)
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(BODY)),
        (b"gateway-request-id", REQUEST_ID),
        (b"gateway-branch", b"prod"),
        (b"gateway-commit", COMMIT),
    ],
}
ANSWER = {"type": "http.response.body", "body": BODY}


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body", False):
        pass
    await send(START)
    await send(ANSWER)


def main(port: int) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            http="httptools",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
        )
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve())


if __name__ == "__main__":
    main(int(sys.argv[1]))
