"""GET /console/static/...: the files that came with the gateway, by name from a fixed table."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import NotFound

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class File:
    """What is answered for a name."""

    content: bytes
    media_type: str
    etag: str


class Static:
    """Every file under static/, read once: no name of a request ever becomes a path."""

    def __init__(self) -> None:
        self.table = dict(_found(files("gateway.console") / "static", ""))

    async def answer(self, request: Request) -> Response:
        name = request.path_params["name"]
        file = self.table.get(name)
        if file is None:
            raise NotFound("the console has no such file", where="path")
        # Asked again each time and answered by 304: a newer gateway's page gets newer modules.
        headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
        given = request.headers.get("If-None-Match", "")
        if file.etag in [one.strip().removeprefix("W/") for one in given.split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)


def _found(folder: Traversable, prefix: str) -> list[tuple[str, File]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        name = prefix + entry.name
        if entry.is_dir():
            found += _found(entry, f"{name}/")
            continue
        content = entry.read_bytes()
        stem, dot, suffix = entry.name.rpartition(".")
        media_type = _TYPES.get(suffix if dot and stem else "", "application/octet-stream")
        found.append((name, File(content, media_type, f'"{sha256(content).hexdigest()[:32]}"')))
    return found
