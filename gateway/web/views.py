"""GET /branches/{branch}/monitoring/{kind}.csv: the flat files of the seed layout, as views.

Nothing of that name is written into git; the rows are those of the branch's published segments.
Beside them `drift`, which is what the monitor says of a branch and no rows of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.errors import NotFound
from gateway.layout import Kind
from gateway.names import Branch
from gateway.web.drift import Drift
from gateway.web.status import Status

KINDS: tuple[Kind, ...] = ("predictions", "drift", "decisions")


class Views:
    """Streams one branch's segments of a kind as one CSV."""

    def __init__(
        self,
        status: Status,
        export: Callable[[Branch, Kind], Iterator[bytes]],
        drift_folder: Path,
    ) -> None:
        self._status = status
        self._export = export
        self.drift = Drift(status, drift_folder).answer

    async def csv(self, request: Request) -> Response:
        branch = self._status.known(request.path_params["branch"])
        wanted = request.path_params["kind"]
        kind = next((kind for kind in KINDS if kind == wanted), None)
        if kind is None:
            known = ", ".join(f"{kind}.csv" for kind in KINDS)
            raise NotFound(f"no view {wanted}.csv; there are: {known}", where="path")
        parts = iterate_in_threadpool(self._export(branch, kind))
        # The first part is awaited here: a repository that cannot be read is an error, not a file.
        first = await anext(parts, b"")

        async def whole() -> AsyncIterator[bytes]:
            yield first
            async for part in parts:
                yield part

        return StreamingResponse(
            whole(),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{kind}.csv"'},
        )
