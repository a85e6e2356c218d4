"""What an operation is made of, and the answers that many share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config import Config
from gateway.web.openapi.answers import TYPES
from gateway.web.openapi.schemas import REQUEST_ID, ref

JSON = "application/json"

Answers = Mapping[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path: what is sent, and everything that may come back."""

    id: str
    tag: str
    summary: str
    description: str
    answers: Answers
    parameters: tuple[dict[str, Any], ...] = ()
    body: dict[str, Any] | None = None


def header(description: str, schema: Mapping[str, Any], *, always: bool = True) -> dict[str, Any]:
    return {"description": description, "required": always, "schema": dict(schema)}


def answer(
    description: str,
    shape: str,
    examples: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, Any] | None = None,
    links: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A response with a JSON body of one shape; an example is the answer to its namesake."""
    content: dict[str, Any] = {"schema": ref(shape)}
    if examples:
        content["examples"] = named(examples)
    return {
        "description": description,
        **({"headers": dict(headers)} if headers else {}),
        "content": {JSON: content},
        **({"links": dict(links)} if links else {}),
    }


def text(description: str, media_type: str, **more: Any) -> dict[str, Any]:
    """A response that is no JSON."""
    content = {media_type: {"schema": {"type": "string"}}}
    return {"description": description, **more, "content": content}


def branch_parameter(config: Config, *, candidate: bool = False) -> dict[str, Any]:
    return {
        "name": "branch",
        "in": "path",
        "required": True,
        "description": "A configured branch, with `~` for `/`: `team~exp` is `team/exp`.",
        "schema": {"type": "string", "minLength": 1},
        "example": next(
            (name for name in config.branches if candidate and name != config.baseline),
            config.baseline,
        ).folder,
    }


def named(examples: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"summary": name, "value": value} for name, value in examples.items()}


def failure(
    status: str,
    description: str,
    message: str,
    where: str | None,
    *,
    name: str = "",
    kind: str = "",
    headers: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An error's response, with an example that is as good as any."""
    types = TYPES[status]
    narrowed = {
        "allOf": [
            ref("Failure"),
            {"properties": {"error": {"properties": {"type": {"enum": list(types)}}}}},
        ]
    }
    example = {"error": {"type": kind or types[0], "message": message, "where": where}}
    content = {"schema": narrowed, "examples": named({name or "for example": example})}
    fields = {**(headers or {}), **(_RETRY if status in ("429", "503", "504") else {})}
    return {
        "description": description,
        **({"headers": fields} if fields else {}),
        "content": {JSON: content},
    }


_RETRY = {
    "Retry-After": header("Seconds to wait before the next try.", {"type": "integer", "minimum": 1})
}

#: Also of errors, but for those of requests that do not get as far as an id.
REQUEST_ID_HEADER = header(
    "The gateway's own id of this request.", {"type": "string", "pattern": REQUEST_ID}
)
_BRANCH = header("The branch that answered.", {"type": "string"})
_COMMIT = header("The commit that answered.", {"type": "string", "pattern": "^[0-9a-f]{40,64}$"})
#: Who answered, as headers too.
PROVENANCE = {
    "Gateway-Request-Id": REQUEST_ID_HEADER,
    "Gateway-Branch": _BRANCH,
    "Gateway-Commit": _COMMIT,
}
#: Where an error may come from before a branch was asked.
PERHAPS = {name: {**one, "required": False} for name, one in PROVENANCE.items()}

#: What any request may be answered, whatever it asks for.
SHARED: dict[str, dict[str, Any]] = {
    "400": failure("400", "This is not an HTTP request.", "this is not an HTTP request", "request"),
    "408": failure(
        "408",
        "The request did not come in time. The connection ends.",
        "the head did not come within 10 s",
        "request",
    ),
    "431": failure(
        "431",
        "More than 64 KiB or 256 fields of header. The connection ends.",
        "more than 256 header fields",
        "request",
    ),
    "500": failure(
        "500",
        "A defect of the gateway, or of its machine; its log says more.",
        "the gateway failed; its log says why",
        None,
    ),
    "503": failure(
        "503",
        "As many connections are open as may be. The connection ends.",
        "10000 connections are open, which is the bound",
        "request",
    ),
}
