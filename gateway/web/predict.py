"""POST /predict: unit, assignment, the branch's queue, the answer. The whole hot path.

Plain ASGI: a Starlette Request and Response would cost a tenth of the request. Features are never
parsed here. What a branch cannot answer is answered by the baseline and says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.config import Config
from gateway.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    GatewayError,
    InvalidInstances,
    ModelError,
    NotReady,
    Overloaded,
    RequestError,
    UnreadableBody,
)
from gateway.metrics import Metrics
from gateway.names import Branch, RequestId
from gateway.recording import Exchange, Recorder
from gateway.routing import Routing
from gateway.web.envelope import Envelope
from gateway.web.errors import DEFECT, describe
from gateway.workers.fleet import Fleet
from gateway.workers.jobs import Answer, Job, Serving

log = logging.getLogger(__name__)

PATH = "/predict"

_JSON = (b"content-type", b"application/json")

#: What befell a branch, as the row's status says it: where the baseline answered, and where not.
_FALLBACKS: tuple[tuple[type[GatewayError], str], ...] = (
    (NotReady, "fallback_not_ready"),
    (Overloaded, "fallback_overload"),
    (DeadlineExceeded, "fallback_timeout"),
    (ModelError, "fallback_error"),
)
_FAILURES: tuple[tuple[type[GatewayError], str], ...] = (
    (InvalidInstances, "invalid"),
    (Overloaded, "overload"),
    (DeadlineExceeded, "timeout"),
    (GatewayError, "error"),
)


class ClientGone(Exception):
    """The caller hung up before its body was whole: there is nobody to answer."""


class Predict:
    """The endpoint; also counts its requests."""

    def __init__(
        self,
        routing: Routing,
        fleet: Fleet,
        recorder: Recorder,
        metrics: Metrics,
        closing: Callable[[], bool] = lambda: False,
    ) -> None:
        self._routing = routing
        self._fleet = fleet
        self._recorder = recorder
        self._metrics = metrics
        self._closing = closing
        self._of: Config | None = None
        self._envelope: Envelope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived = time.perf_counter()
        request_id = RequestId.build(
            time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big")
        )
        try:
            await self._handle(scope, receive, send, request_id, arrived)
        except Exception:
            log.exception("unexpected error in %s", PATH, extra={"request_id": request_id})
            await _send_error(send, GatewayError(DEFECT), request_id, None, last=True)

    async def _handle(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        request_id: RequestId,
        arrived: float,
    ) -> None:
        try:
            exchange = await self._exchange(scope, receive, request_id, arrived)
        except ClientGone:
            return
        except RequestError as error:
            reason = "too_large" if isinstance(error, BodyTooLarge) else "unreadable"
            self._metrics.refused_by[reason].inc()
            await _send_error(send, error, request_id, None, last=self._closing())
            return
        try:
            answer = await self._answer(exchange)
        except GatewayError as error:
            self._count(exchange, exchange.assignment.arm)
            serving = self._serving(exchange.branch)
            await _send_error(send, error, request_id, serving, last=self._closing())
            return
        self._count(exchange, answer.serving.branch, answer)
        await _send_answer(send, answer, request_id, last=self._closing())

    def before(self, app: ASGIApp) -> ASGIApp:
        """`app` with this endpoint in front of it.

        Starlette's middleware and routing would cost a fifth of the request. What is not a POST to
        this path is still theirs.
        """

        async def entrance(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
                await self(scope, receive, send)
            else:
                await app(scope, receive, send)

        return entrance

    async def _exchange(
        self, scope: Scope, receive: Receive, request_id: RequestId, arrived: float
    ) -> Exchange:
        config = self._routing.config
        if config is not self._of:
            self._of = config
            self._envelope = Envelope(config.unit, config.limits)
        envelope = self._envelope  # this configuration's, also if it changes during the await
        body = await _read_body(scope, receive, config.limits.body_bytes)
        payload, rows, units = envelope.parse(body)
        unit = _find_unit(config, scope, units)
        assignment = self._routing.assign(unit, request_id)
        return Exchange(request_id, assignment, payload, rows, arrived)

    async def _answer(self, exchange: Exchange) -> Answer:
        """The arm's answer, else the baseline's; a failure is recorded before it is raised."""
        arm = exchange.assignment.arm
        try:
            return await self._ask(arm, exchange)
        except InvalidInstances as error:
            self._failed(exchange, error)
            raise
        except GatewayError as error:
            self._log_failure(exchange, error)
            if not self._may_fall_back(arm):
                self._failed(exchange, error)
                raise
            exchange.status = _status(error, _FALLBACKS)
        # As it is now: the configuration may have changed while the arm was asked.
        baseline = self._routing.config.baseline
        try:
            return await self._ask(baseline, exchange)
        except GatewayError as error:
            self._log_failure(exchange, error)
            self._failed(exchange, error)
            raise

    def _may_fall_back(self, branch: Branch) -> bool:
        config = self._routing.config
        settings = config.branches.get(branch)
        return branch != config.baseline and (settings is None or settings.fallback)

    async def _ask(self, branch: Branch, exchange: Exchange) -> Answer:
        exchange.branch = branch
        loop = asyncio.get_running_loop()
        settings = self._routing.config.branches.get(branch)
        try:
            slot = self._fleet.slot(branch)
        except KeyError:
            slot = None
        if slot is None or settings is None:
            raise NotReady("no longer configured", where=branch)
        job = Job(
            exchange.payload,
            exchange.rows,
            loop.time() + settings.timeout,
            exchange,
            loop.create_future(),
        )
        slot.submit(job, patient=not self._may_fall_back(branch))
        return await job.future

    def _failed(self, exchange: Exchange, error: GatewayError) -> None:
        serving = self._serving(exchange.branch)
        self._recorder.failed(exchange, serving, _status(error, _FAILURES), error.message)

    def _log_failure(self, exchange: Exchange, error: GatewayError) -> None:
        """Where the model itself failed, its author finds it in the branch's logs/."""
        if isinstance(error, ModelError):
            serving = self._serving(exchange.branch)
            commit = serving.commit if serving is not None else ""
            self._recorder.logged(
                exchange.branch, commit, "error", "predict", error.message, exchange.request_id
            )

    def _serving(self, branch: Branch) -> Serving | None:
        try:
            return self._fleet.slot(branch).serving
        except KeyError:
            return None

    def _count(self, exchange: Exchange, branch: Branch, answer: Answer | None = None) -> None:
        self._metrics.branch(exchange.assignment.arm).requests[exchange.status].inc()
        if answer is not None:
            children = self._metrics.branch(branch)
            children.duration.observe(time.perf_counter() - exchange.arrived)
            children.rows.inc(exchange.rows)
            if answer.ignored:
                children.ignored_columns.inc(answer.ignored)


def _status(error: GatewayError, table: tuple[tuple[type[GatewayError], str], ...]) -> str:
    return next((word for family, word in table if isinstance(error, family)), table[-1][1])


async def _read_body(scope: Scope, receive: Receive, limit: int) -> bytes | bytearray:
    declared = _header(scope, b"content-length")
    if declared and declared.isdecimal() and int(declared) > limit:
        raise BodyTooLarge(f"at most {limit} bytes. Given: {declared}", where="body")
    message = await receive()
    if not message.get("more_body", False) and message["type"] == "http.request":
        whole: bytes = message.get("body", b"")
        if len(whole) > limit:
            raise BodyTooLarge(f"at most {limit} bytes. Given: {len(whole)}", where="body")
        if not whole:
            raise UnreadableBody("the body is empty", where="body")
        return whole
    parts = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts += message.get("body", b"")
        if len(parts) > limit:
            raise BodyTooLarge(f"at most {limit} bytes. Given: more", where="body")
        if not message.get("more_body", False):
            return parts
        message = await receive()


def _find_unit(config: Config, scope: Scope, units: dict[str, str]) -> str | None:
    """The first of the configured sources that is there and not empty."""
    for source in config.unit:
        kind, key = source.kind, source.key
        if kind == "header":
            found: str | None = _header(scope, key.lower().encode("latin-1"))
        elif kind == "cookie":
            found = _cookie(scope, key)
        else:
            found = units.get(key)
        if found:
            return found
    return None


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            text: bytes = value.strip(b" \t")
            try:
                return text.decode()
            except UnicodeDecodeError:
                return text.decode("latin-1")
    return None


def _cookie(scope: Scope, name: str) -> str | None:
    header = _header(scope, b"cookie")
    return cookie_parser(header).get(name) if header is not None else None


async def _send_answer(send: Send, answer: Answer, request_id: RequestId, *, last: bool) -> None:
    serving = answer.serving
    identity = request_id.encode()
    probabilities = b',"probabilities":' + answer.probabilities if answer.probabilities else b""
    # Branch and commit hold no quote or backslash but for a `"` in a branch name, escaped below.
    body = b'{"predictions":%s%s,"request_id":"%s","branch":%s,"commit":"%s"}' % (
        answer.predictions,
        probabilities,
        identity,
        _quoted(serving.branch),
        serving.commit.encode(),
    )
    await _send(send, 200, body, _provenance(serving, identity), last=last)


async def _send_error(
    send: Send,
    error: GatewayError,
    request_id: RequestId,
    serving: Serving | None,
    *,
    last: bool,
) -> None:
    status, body, fields = describe(error)
    extra = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    headers = extra + _provenance(serving, request_id.encode())
    await _send(send, status, body, headers, last=last)


def _provenance(serving: Serving | None, request_id: bytes) -> list[tuple[bytes, bytes]]:
    headers = [(b"gateway-request-id", request_id)]
    if serving is not None:
        headers.append((b"gateway-branch", serving.branch.encode()))
        headers.append((b"gateway-commit", serving.commit.encode()))
    return headers


def _quoted(branch: Branch) -> bytes:
    text = branch.replace('"', '\\"')
    return b'"%s"' % text.encode()


async def _send(send: Send, status: int, body: bytes, headers: list[Any], *, last: bool) -> None:
    """`last` tells the caller that this connection takes no further request."""
    if last:
        headers.append((b"connection", b"close"))
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [_JSON, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})
