"""GET /openapi.json, /docs and what that page is made of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.config import Config
from gateway.errors import NotFound
from gateway.web.errors import json_response
from gateway.web.openapi.document import document
from gateway.web.openapi.page import page

#: No script, style, font or image but the gateway's own, and nobody's frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_FOLDER = Path(__file__).parent / "static"
FILES = {"docs.css": "text/css", "docs.js": "text/javascript"}


class Documentation:
    """Makes both anew when other settings are in force."""

    def __init__(self, config: Callable[[], Config]) -> None:
        """`config` is what is in force now."""
        self._config = config
        self._of: Config | None = None
        self._json = b""
        self._page = ""
        self._making = asyncio.Lock()

    @property
    def routes(self) -> list[Route]:
        """Where all this is."""
        return [
            Route("/openapi.json", self.openapi),
            Route("/docs", self.docs),
            Route("/docs/{file}", self.part),
        ]

    async def openapi(self, request: Request) -> Response:
        await self._make()
        return json_response(self._json)

    async def docs(self, request: Request) -> Response:
        await self._make()
        return Response(
            self._page, media_type="text/html", headers={"Content-Security-Policy": _POLICY}
        )

    async def part(self, request: Request) -> Response:
        name = request.path_params["file"]
        if name not in FILES:
            raise NotFound(f"no file {name!r}; there are: {', '.join(FILES)}", where="path")
        content = await asyncio.to_thread((_FOLDER / name).read_bytes)
        headers = {"Cache-Control": "max-age=3600"}
        return Response(content, media_type=FILES[name], headers=headers)

    async def _make(self) -> None:
        async with self._making:
            config = self._config()
            if config is not self._of:
                self._json, self._page = await asyncio.to_thread(_made, config)
                self._of = config


def _made(config: Config) -> tuple[bytes, str]:
    found: dict[str, Any] = document(config, FILES)
    return json.dumps(found, ensure_ascii=False).encode(), page(found)
