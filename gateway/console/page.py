"""GET / and what the page asks for besides its stream: every route of the console."""

from __future__ import annotations

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import __version__
from gateway.console.events import Events
from gateway.console.explained import Explain
from gateway.console.snapshot import Snapshots
from gateway.console.static import Static
from gateway.errors import RequestError
from gateway.intervals import Intervals
from gateway.timeline import Timeline
from gateway.traffic import Traffic
from gateway.web.errors import json_response

#: Nothing inline and nothing from elsewhere; access leaves the headers of a page alone.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_NO_STORE = {"Cache-Control": "no-store"}


class Console:
    """The page and its routes; everything they say is told by other rooms."""

    def __init__(
        self,
        *,
        snapshots: Snapshots,
        events: Events,
        explain: Explain,
        traffic: Traffic,
        timeline: Timeline,
        intervals: Intervals,
        repository: str,
    ) -> None:
        """`repository` is what people call it, without a password."""
        self._snapshots = snapshots
        self._traffic = traffic
        self._timeline = timeline
        self._intervals = intervals
        self._repository = repository
        self._static = Static()
        environment = Environment(
            loader=PackageLoader("gateway.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._template = environment.get_template("page.html")
        self.routes = [
            Route("/", self.page),
            Route("/console/events", events.answer),
            Route("/console/snapshot", self.snapshot),
            Route("/console/traffic", self.traffic),
            Route("/console/timeline", self.timeline),
            Route("/console/intervals", self.intervals),
            Route("/console/explain", explain.answer),
            Route("/console/static/{name:path}", self._static.answer),
        ]

    async def page(self, request: Request) -> Response:
        html = self._template.render(
            snapshot=await self._snapshots.made(),
            repository=self._repository,
            repository_name="/".join(self._repository.rstrip("/").split("/")[-2:]),
            version=__version__,
        )
        return Response(html, headers=HEADERS, media_type="text/html; charset=utf-8")

    async def snapshot(self, request: Request) -> Response:
        return json_response(await self._snapshots.encoded(), headers=_NO_STORE)

    async def traffic(self, request: Request) -> Response:
        return _json(self._traffic.history())

    async def timeline(self, request: Request) -> Response:
        given = request.query_params.get("after", "0")
        if not (given.isascii() and given.isdecimal() and len(given) <= 15):
            text = "must be the number of an event, or left out"
            raise RequestError(f"{text}. Given: {given[:40]!r}", where="?after")
        return _json({"events": self._timeline.after(int(given))})

    async def intervals(self, request: Request) -> Response:
        return _json({"contrasts": self._intervals.courses})


def _json(content: object) -> Response:
    return json_response(msgspec.json.encode(content, enc_hook=str), headers=_NO_STORE)
