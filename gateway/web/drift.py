"""GET /branches/{branch}/drift: what the monitor last said of a branch's drift, as it said it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import NotFound, StateError
from gateway.names import Branch
from gateway.web.errors import json_response
from gateway.web.status import Status


class Drift:
    """Hands on the documents in `folder`, one a branch, which the monitor writes."""

    def __init__(self, status: Status, folder: Path) -> None:
        self._status = status
        self._folder = folder

    async def answer(self, request: Request) -> Response:
        text = request.path_params["branch"]
        try:
            branch = self._status.known(text)
        except NotFound:
            # A branch `team/drift`, asked for itself. Git has no `team` beside it.
            request.path_params["branch"] = f"{text}/drift"
            try:
                return await self._status.branch(request)
            except NotFound:
                pass
            raise
        return json_response(await asyncio.to_thread(self._read, branch))

    def _read(self, branch: Branch) -> bytes:
        path = self._folder / f"{branch.folder}.json"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return json.dumps(_nothing_of(branch), ensure_ascii=False).encode()
        except OSError as error:
            raise StateError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _nothing_of(branch: Branch) -> dict[str, object]:
    """The same shape where the monitor has said nothing yet."""
    unknown = ("fingerprint", "commit", "severity", "drifted", "trouble", "reference", "collected")
    return {
        "branch": branch,
        "state": "waiting",
        **dict.fromkeys((*unknown, "window", "open", "rules")),
        "columns": [],
        "between": None,
    }
