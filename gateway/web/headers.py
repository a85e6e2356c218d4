"""Headers that keep a browser from doing more with an answer than show it. Plain ASGI.

Pages that scripts are part of say their own Content-Security-Policy, which stays.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
#: Of every answer.
_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
#: The same as lines of a response that is written as it is.
LINES = b"".join(b"%s: %s\r\n" % field for field in (*_ALWAYS, _POLICY))


class SecurityHeaders:
    """Adds them to whatever `app` answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = list(message["headers"])
                names = {name.lower() for name, _ in said}
                fields = (*_ALWAYS, _POLICY)
                added = [field for field in fields if field[0] not in names]
                message = {**message, "headers": [*said, *added]}
            await send(message)

        await self._app(scope, receive, hardened)
