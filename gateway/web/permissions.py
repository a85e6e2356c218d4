"""Which scopes each route needs: the one table, and the guard that is put before every route.

What is not in the table needs `read`, so that a forgotten line shuts a page and opens none.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.audit import audit
from gateway.access.guard import Guard, Needs
from gateway.access.rate import TokenBucket
from gateway.access.scopes import Scope as AccessScope
from gateway.errors import GatewayError

#: Method and path, as the route says it; a mount stands with GET.
PERMISSIONS: dict[tuple[str, str], tuple[AccessScope, ...]] = {
    ("POST", "/predict"): ("predict",),
    ("POST", "/branches/{branch:path}/predict"): ("predict", "override"),
    ("POST", "/feedback"): ("feedback",),
    ("GET", "/feedback/{request_id}"): ("read",),
    ("GET", "/experiment"): ("read",),
    ("GET", "/branches"): ("read",),
    ("GET", "/branches/{branch:path}/monitoring/{kind}.csv"): ("read",),
    ("GET", "/branches/{branch:path}/drift"): ("read",),
    ("POST", "/branches/{branch:path}/hold"): ("operate",),
    ("POST", "/branches/{branch:path}/release"): ("operate",),
    ("GET", "/branches/{branch:path}"): ("read",),
    ("POST", "/webhooks/git"): (),  # which has a secret of its own
    ("GET", "/healthz"): (),
    ("GET", "/readyz"): (),
    ("GET", "/metrics"): ("read",),
    ("GET", "/"): ("read",),
    ("GET", "/console/events"): ("read",),
    ("GET", "/console/snapshot"): ("read",),
    ("GET", "/console/traffic"): ("read",),
    ("GET", "/console/timeline"): ("read",),
    ("GET", "/console/intervals"): ("read",),
    ("GET", "/console/explain"): ("read",),
    ("GET", "/console/static/{name:path}"): ("read",),
    ("GET", "/openapi.json"): ("read",),
    ("GET", "/docs"): ("read",),
    ("GET", "/docs/{file}"): ("read",),
}
_FORGOTTEN: tuple[AccessScope, ...] = ("read",)
#: They cost the front more than others, and are bounded by `access.page_rate`.
_PAGES: Needs = frozenset({"read", "operate"})


class Guarded:
    """A route's application, behind the guard; it finds who asks as `scope["principal"]`."""

    def __init__(self, app: ASGIApp, guard: Guard, path: str) -> None:
        self._app = app
        self._guard = guard
        self._path = path
        # What anybody can set off must not fill the log.
        self._lines = TokenBucket(1.0, 20, time.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        needs = needed(scope.get("method", "GET"), self._path)
        if needs:
            admit = self._guard.admit_page if needs & _PAGES else self._guard.admit
            try:
                scope["principal"] = admit(scope["headers"], scope.get("client"), needs)
            except GatewayError as error:
                if "operate" in needs and not self._lines.take():
                    _audit_refused(scope, error)
                raise
        await self._app(scope, receive, send)


def _audit_refused(scope: Scope, error: GatewayError) -> None:
    client = scope.get("client")
    audit(
        f"{scope['method']} {scope['path']}",
        who=getattr(error, "who", None) or "unknown",
        address=client[0] if client else "unknown",
        result="refused",
        say=error.message,
    )


def needed(method: str, path: str) -> Needs:
    """The scopes of a route."""
    asked = "GET" if method == "HEAD" else method
    return frozenset(PERMISSIONS.get((asked, path), _FORGOTTEN))


def guarded(routes: Iterable[BaseRoute], guard: Guard) -> list[BaseRoute]:
    """The routes, each behind the guard; one whose application asks the guard itself says so."""
    found = list(routes)
    for route in found:
        if not isinstance(route, Route | Mount):
            raise TypeError(f"{route!r} cannot be put behind the guard")
        if not getattr(route.app, "asks_guard", False):
            route.app = Guarded(route.app, guard, route.path)
    return found
