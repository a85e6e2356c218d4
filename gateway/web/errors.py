"""The one table from error family to HTTP status, and the one shape of every error body."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import (
    BodyTooLarge,
    BodyTooSlow,
    DeadlineExceeded,
    Forbidden,
    GatewayError,
    InvalidInstances,
    KeyNeeded,
    ModelError,
    NotFound,
    RepositoryError,
    RequestError,
    TooMany,
    Unauthorised,
    UnavailableError,
)

#: What a caller is told of a defect of ours; the log has the rest.
DEFECT = "the gateway failed; its log says why"

#: How a key may come: a browser asks its user for the password of Basic.
CHALLENGE = 'Basic realm="branch gateway", Bearer'

log = logging.getLogger(__name__)

#: Most special first: the first family an error belongs to decides.
TABLE: tuple[tuple[type[GatewayError], int, str], ...] = (
    (BodyTooLarge, 413, "too_large"),
    (NotFound, 404, "not_found"),
    (InvalidInstances, 422, "invalid_instances"),
    (Unauthorised, 401, "unauthorised"),
    (Forbidden, 403, "forbidden"),
    (BodyTooSlow, 408, "too_slow"),
    (TooMany, 429, "too_many"),
    (RequestError, 400, "bad_request"),
    (DeadlineExceeded, 504, "timeout"),
    (UnavailableError, 503, "unavailable"),
    (ModelError, 500, "model_error"),
    (RepositoryError, 502, "repository"),
    (GatewayError, 500, "internal"),
)

_NAMES = {404: "not_found", 405: "method_not_allowed"}


def error_body(kind: str, message: str, where: str | None) -> bytes:
    error = {"type": kind, "message": message, "where": where}
    return json.dumps({"error": error}, ensure_ascii=False).encode()


def describe(error: GatewayError) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and extra headers of an error."""
    status, kind = next(row[1:] for row in TABLE if isinstance(error, row[0]))
    headers = {}
    if isinstance(error, UnavailableError):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthorised):
        # RFC 9110 wants one. Of a webhook, where it is a signature, the message says which.
        is_key = isinstance(error, KeyNeeded)
        headers["WWW-Authenticate"] = CHALLENGE if is_key else "Signature"
    return status, error_body(kind, error.message, error.where), headers


def json_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(body, status, headers, media_type="application/json")


async def gateway_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for our own errors."""
    assert isinstance(error, GatewayError)
    status, body, headers = describe(error)
    return json_response(body, status, headers)


async def http_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for its own: no such path, no such method."""
    assert isinstance(error, HTTPException)
    kind = _NAMES.get(error.status_code, "http")
    message = error.detail
    if error.status_code == 405 and request.method == "OPTIONS":
        return Response(status_code=204, headers=error.headers)  # what it asks is in Allow
    if error.status_code == 404:
        message = (
            "no such path; POST /predict answers predictions, GET /branches lists branches,"
            " and GET /docs says what else there is"
        )
    elif error.status_code == 405 and error.headers:
        message = f"this path takes {error.headers.get('Allow', 'another method')}"
    body = error_body(kind, message, f"{request.method} {request.url.path}")
    return json_response(body, error.status_code, error.headers)


async def unexpected(request: Request, error: Exception) -> Response:
    """A defect of ours: said in the log in full, to the caller without inner words."""
    log.error("unexpected error in %s", request.url.path, exc_info=error)
    return json_response(error_body("internal", DEFECT, None), 500)
