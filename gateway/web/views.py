"""GET /branches/{branch}/monitoring/{kind}.csv: the flat files of the seed layout, as views.

Nothing of that name is written into git; the rows are those of the branch's published segments.
Beside them `drift`, which is what the monitor says of a branch and no rows of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.errors import NotFound, UnavailableError
from gateway.layout import Kind
from gateway.names import Branch
from gateway.web.drift import Drift
from gateway.web.status import Status

#: Each reads a repository, and all of what it holds of a branch.
MOST_EXPORTS = 4
_CSV = "text/csv; charset=utf-8"

KINDS: tuple[Kind, ...] = ("predictions", "drift", "outcomes", "results", "decisions")


class Views:
    """Streams one branch's segments of a kind as one CSV."""

    def __init__(
        self,
        status: Status,
        export: Callable[[Branch, Kind], Iterator[bytes]],
        drift_folder: Path,
    ) -> None:
        self._under_way = 0
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
        headers = {"Content-Disposition": f'attachment; filename="{kind}.csv"'}
        if request.method == "HEAD":
            return Response(media_type=_CSV, headers=headers)
        if self._under_way >= MOST_EXPORTS:
            text = f"{MOST_EXPORTS} views are being read, which is the most at once"
            raise UnavailableError(text, where="path", retry_after=5)
        self._under_way += 1
        try:
            return await self._streamed(branch, kind, headers)
        except BaseException:
            self._under_way -= 1
            raise

    async def _streamed(self, branch: Branch, kind: Kind, headers: dict[str, str]) -> Response:
        parts = iterate_in_threadpool(self._export(branch, kind))
        # The first part is awaited here: a repository that cannot be read is an error, not a file.
        first = await anext(parts, b"")

        async def whole() -> AsyncIterator[bytes]:
            yield first
            async for part in parts:
                yield part

        return _Counted(whole(), self._ended, media_type=_CSV, headers=headers)

    def _ended(self) -> None:
        self._under_way -= 1


class _Counted(StreamingResponse):
    """Says when it is over, however that is."""

    def __init__(
        self, content: AsyncIterator[bytes], ended: Callable[[], None], **given: Any
    ) -> None:
        super().__init__(content, **given)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()
