"""POST /branches/{branch}/hold and /release: an operator's word, over the folder of commands.

Answered once it is in force. Who asked, and what came of it, is a line of the audit; the decision
in git has the name of the key.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway import operating
from gateway.access.audit import audit
from gateway.access.guard import Principal
from gateway.access.keys_file import ANONYMOUS
from gateway.access.scopes import is_loopback
from gateway.errors import (
    Forbidden,
    GatewayError,
    RequestError,
    UnavailableError,
    UnreadableBody,
)
from gateway.experiments.facts import Command
from gateway.operating import Action
from gateway.routing import Routing
from gateway.web.bodies import ClientGone, read_body
from gateway.web.errors import json_response
from gateway.web.units import header

_MOST_BYTES = 16 * 1024
#: Words that wait for the monitor at once.
_MOST_WAITING = 16


class _Release(msgspec.Struct, forbid_unknown_fields=True):
    reason: str = ""


class _Hold(_Release, forbid_unknown_fields=True):
    out: bool = False


class Operating:
    """The two endpoints."""

    def __init__(self, routing: Routing, patience: float = operating.PATIENCE) -> None:
        """`patience` is how many seconds the monitor has for taking a word."""
        self._routing = routing
        self._patience = patience
        self._waiting = 0

    async def hold(self, request: Request) -> Response:
        return await self._answer(request, "hold")

    async def release(self, request: Request) -> Response:
        return await self._answer(request, "release")

    async def _answer(self, request: Request, action: Action) -> Response:
        who: Principal = request.scope["principal"]
        text = request.path_params["branch"]
        address = request.client.host if request.client else "unknown"
        result, say = "failed", ""
        try:
            self._from_no_other_site(request, who)
            branch = self._routing.known(text, "path")
            said = await _said(request, action)
            body = await self._tell(action, str(branch), said, who.name)
            result, say = "in_force", said.reason
        except ClientGone:
            say = "the caller hung up"
            return Response(status_code=400)  # which nobody reads
        except GatewayError as error:
            result = "refused" if isinstance(error, RequestError) else "failed"
            say = error.message
            raise
        finally:
            audit(action, who=who.name, address=address, result=result, branch=text, say=say)
        return json_response(body)

    def _from_no_other_site(self, request: Request, who: Principal) -> None:
        """What a browser sends for a page of another site, or one that took on our address."""
        site = request.headers.get("Sec-Fetch-Site", "none")
        if site not in ("none", "same-origin"):
            raise Forbidden(f"another site's page asked this: {site[:20]}", where="Sec-Fetch-Site")
        kind = header(request.scope["headers"], b"content-type") or ""
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise RequestError("must be application/json", where="header Content-Type")
        host = request.url.hostname or ""
        if (
            who.name == ANONYMOUS
            and not self._routing.config.anonymous_said
            and not is_loopback(host)
        ):
            raise Forbidden(
                f"without keys this is answered to this machine alone. Given: {host[:80]!r}",
                where="header Host",
            )

    async def _tell(self, action: Action, branch: str, said: _Hold | _Release, by: str) -> bytes:
        if self._waiting >= _MOST_WAITING:
            raise UnavailableError(f"{self._waiting} others wait for the monitor already")
        self._waiting += 1
        try:
            state_dir = self._routing.config.state_dir
            out = isinstance(said, _Hold) and said.out
            command = await asyncio.to_thread(
                operating.send, state_dir, action, branch, by=by, reason=said.reason, out=out
            )
            outcome = await self._outcome(state_dir, command)
            if outcome in ("withdrawn", "unknown"):
                late = f"the monitor took it not within {self._patience:g} s"
                then = operating.UNKNOWN if outcome == "unknown" else "it is withdrawn"
                raise UnavailableError(f"{late}, and {then}", where=branch, retry_after=5)
            order = await asyncio.to_thread(operating.order_of, state_dir, branch)
        finally:
            self._waiting -= 1
        return msgspec.json.encode(
            {
                "branch": branch,
                "action": action,
                "state": order and order.state,
                "share": order and order.share,
                "text": operating.COMING
                if outcome == "coming"
                else operating.in_words(branch, order),
            }
        )

    async def _outcome(self, state_dir: Path, command: Command) -> operating.Outcome:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        while not await asyncio.to_thread(operating.is_taken, state_dir, command):
            if loop.time() > end:
                return await asyncio.to_thread(operating.withdraw, state_dir, command)
            await asyncio.sleep(operating.LOOK_EVERY)
        return "taken"


async def _said(request: Request, action: Action) -> _Hold | _Release:
    body = await read_body(request.scope, request.receive, _MOST_BYTES)
    shape = _Hold if action == "hold" else _Release
    fields = '{"reason": TEXT}' if action == "release" else '{"out": false, "reason": TEXT}'
    try:
        return msgspec.json.decode(body or b"{}", type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableBody(f"{error}. Send {fields}", where="body") from None
