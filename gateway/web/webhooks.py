"""POST /webhooks/git: a git server says that something was pushed, so the repository is looked at.

Owns who is believed to be that server. Nothing of the body is believed or even parsed: whatever it
says, the most that follows is one poll.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.access.rate import TokenBucket
from gateway.errors import (
    BodyTooLarge,
    BodyTooSlow,
    GatewayError,
    NotFound,
    TooMany,
    Unauthorised,
    UnreadableBody,
)
from gateway.metrics import Metrics
from gateway.timestamps import rfc3339
from gateway.web.errors import describe, json_response

#: What GitHub sends at most; the others send less.
LARGEST_BODY = 25 * 1024 * 1024
_PATIENCE = 10.0
_RATE, _BURST = 10.0, 60
_REMEMBERED = 4096

#: The headers that carry HMAC-SHA256 of the body in hex, and what stands before the digits.
_SIGNATURES = {
    b"x-hub-signature-256": b"sha256=",  # GitHub, also Gitea and Forgejo
    b"x-forgejo-signature": b"",
    b"x-gitea-signature": b"",
}
_DIGITS = re.compile(rb"[0-9a-fA-F]{64}")
_TOKEN = b"x-gitlab-token"
_DELIVERY = b"x-gitlab-event-uuid"

_MOVES = frozenset({b"push", b"create", b"delete"})
_EVENTS = {
    b"x-github-event": _MOVES,
    b"x-gitea-event": _MOVES,
    b"x-forgejo-event": _MOVES,
    b"x-gitlab-event": frozenset({b"Push Hook", b"Tag Push Hook", b"System Hook"}),
}

Headers = Sequence[tuple[bytes, bytes]]


class Webhooks:
    """The endpoint; `look` is all it can set off. Without a secret it only says what is missing."""

    def __init__(
        self,
        secret: bytes | None,
        look: Callable[[], None],
        metrics: Metrics,
        *,
        patience: float = _PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`patience` is how many seconds a body may take."""
        self._secret = secret
        self._look = look
        self._results = metrics.webhooks_by
        self._patience = patience
        self._bucket = TokenBucket(_RATE, _BURST, clock)
        # The digests of accepted bodies, oldest first. Delivery ids are not signed.
        self._accepted: OrderedDict[bytes, None] = OrderedDict()
        self._last: float | None = None

    def status(self) -> dict[str, str | None]:
        """For the status page: when a push was last announced."""
        return {"last_webhook": None if self._last is None else rfc3339(self._last)}

    async def git(self, request: Request) -> Response:
        try:
            result = await self._receive(request)
        except GatewayError as error:
            self._results["limited" if isinstance(error, TooMany) else "refused"].inc()
            status, body, headers = describe(error)
            if isinstance(error, BodyTooLarge | BodyTooSlow):
                # A rest that is short is read over; this one may never end.
                headers["Connection"] = "close"
            return json_response(body, status, headers)
        self._results[result].inc()
        return json_response(json.dumps({"status": result}).encode(), 202)

    async def _receive(self, request: Request) -> str:
        """What became of it: accepted, replayed or ignored. Cheap refusals come first."""
        if self._secret is None:
            raise NotFound(
                "webhooks are not configured: gateway.yaml must have `webhook: {secret_env: NAME}`"
                " or `webhook: {secret_file: PATH}` when the gateway starts",
                where="webhook",
            )
        headers: Headers = request.scope["headers"]
        claims = _claims(headers, self._secret)
        declared = _value(headers, b"content-length")
        if declared.isdigit() and int(declared) > LARGEST_BODY:
            raise _too_large(declared.decode())
        if wait := self._bucket.take():
            message = f"at most {_BURST} webhooks at once and {_RATE:g} a second"
            raise TooMany(message, retry_after=math.ceil(wait))
        mac = await self._mac(request, self._secret)
        _verify(claims, mac.hexdigest().encode())
        if not _is_push(headers):
            return "ignored"
        if not claims:
            # A caller that knows the token may say anything, so its delivery id is worth as much
            # as its body; and a branch pushed to and fro gives the same body every time.
            mac.update(_value(headers, _DELIVERY))
        if self._is_replay(mac.digest()):
            return "replayed"
        self._last = time.time()
        self._look()
        return "accepted"

    async def _mac(self, request: Request, secret: bytes) -> hmac.HMAC:
        """HMAC-SHA256 over the raw body as it comes: its size costs no memory."""
        mac = hmac.new(secret, digestmod="sha256")
        size = 0
        try:
            async with asyncio.timeout(self._patience):
                async for part in request.stream():
                    size += len(part)
                    if size > LARGEST_BODY:
                        raise _too_large("more")
                    mac.update(part)
        except TimeoutError:
            message = f"must be whole within {self._patience:g} s. Given: {size} bytes by then"
            raise BodyTooSlow(message, where="body") from None
        except ClientDisconnect:
            raise UnreadableBody("the caller hung up in the middle", where="body") from None
        return mac

    def _is_replay(self, digest: bytes) -> bool:
        if digest in self._accepted:
            self._accepted.move_to_end(digest)
            return True
        self._accepted[digest] = None
        if len(self._accepted) > _REMEMBERED:
            self._accepted.popitem(last=False)
        return False


def _claims(headers: Headers, secret: bytes) -> list[tuple[bytes, bytes]]:
    """The signatures that the body must fit, by header; [] if a right token says it all.

    What can be seen to be wrong without the body is refused here, as is a request without any.
    """
    claims = []
    has_token = False
    for name, value in headers:
        if name == _TOKEN:
            if not hmac.compare_digest(value.strip(b" \t"), secret):
                raise Unauthorised("is not the configured secret", where=_shown(name))
            has_token = True
        elif name in _SIGNATURES:
            prefix = _SIGNATURES[name]
            digits = value.strip(b" \t").removeprefix(prefix)
            if not value.lstrip(b" \t").startswith(prefix) or not _DIGITS.fullmatch(digits):
                form = f"{prefix.decode()}<64 hex digits>"
                raise Unauthorised(f"must be {form}, HMAC-SHA256 of the body", where=_shown(name))
            claims.append((name, digits.lower()))
    if not claims and not has_token:
        known = ", ".join(map(_shown, (*_SIGNATURES, _TOKEN)))
        raise Unauthorised(f"unsigned: one of these must prove the sender: {known}")
    return claims


def _verify(claims: list[tuple[bytes, bytes]], expected: bytes) -> None:
    for name, digits in claims:
        if not hmac.compare_digest(digits, expected):
            message = "is not the HMAC-SHA256 of this body with the configured secret"
            raise Unauthorised(message, where=_shown(name))


def _is_push(headers: Headers) -> bool:
    """A move of a ref by any forge's word for it, or a plain hook, which names no event."""
    named = [(name, value.strip(b" \t")) for name, value in headers if name in _EVENTS]
    return not named or any(value in _EVENTS[name] for name, value in named)


def _value(headers: Headers, wanted: bytes) -> bytes:
    return next((value.strip(b" \t") for name, value in headers if name == wanted), b"")


def _shown(name: bytes) -> str:
    return f"header {name.decode().title()}"


def _too_large(given: str) -> BodyTooLarge:
    return BodyTooLarge(f"at most {LARGEST_BODY} bytes. Given: {given}", where="body")
