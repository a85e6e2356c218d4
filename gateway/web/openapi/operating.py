"""Health, metrics, the git server's webhook, and this documentation itself."""

from __future__ import annotations

from typing import Any

from gateway.web.openapi.operations import JSON, Operation, answer, failure, header, text

_HEALTH = "Health"
_HERE = "Documentation"
_SIGNATURES = (
    ("X-Hub-Signature-256", "`sha256=` and 64 hex digits, as GitHub signs."),
    ("X-Gitea-Signature", "64 hex digits, as Gitea signs."),
    ("X-Forgejo-Signature", "64 hex digits, as Forgejo signs."),
    ("X-Gitlab-Token", "The secret itself, as GitLab sends it."),
)


def webhook() -> Operation:
    """POST /webhooks/git."""
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "header",
            "required": False,
            "description": said,
            "schema": {"type": "string"},
        }
        for name, said in _SIGNATURES
    ]
    return Operation(
        id="webhook",
        tag="Git server",
        summary="Say that something was pushed",
        description="Signed with `webhook` of gateway.yaml: HMAC-SHA256 over the body, or GitLab's"
        " token, in one of these headers. All that follows is one look at the repository; nothing"
        " of the body is believed.",
        parameters=tuple(parameters),
        body={
            "description": "Whatever the git server says; at most 25 MiB.",
            "required": False,
            "content": {JSON: {"schema": {}}},
        },
        answers={
            "202": answer("Believed.", "Delivery"),
            **_webhook_refusals(),
        },
    )


def _webhook_refusals() -> dict[str, Any]:
    return {
        "400": failure("400", "The caller hung up.", "the caller hung up in the middle", "body"),
        "401": failure(
            "401",
            "Nothing proves that the git server sent this.",
            "unsigned: one of these must prove the sender: header X-Hub-Signature-256, …",
            None,
            headers={"WWW-Authenticate": header("`Signature`.", {"type": "string"})},
        ),
        "404": failure(
            "404",
            "Webhooks are not configured.",
            "webhooks are not configured: gateway.yaml must have `webhook: {secret_env: NAME}`"
            " or `webhook: {secret_file: PATH}` when the gateway starts",
            "webhook",
        ),
        "408": failure(
            "408",
            "The body was not whole in time. The connection ends.",
            "must be whole within 10 s. Given: 512 bytes by then",
            "body",
        ),
        "413": failure("413", "More than 25 MiB.", "at most 26214400 bytes. Given: more", "body"),
        "429": failure(
            "429",
            "More than 60 at once or 10 a second.",
            "at most 60 webhooks at once and 10 a second",
            None,
        ),
    }


def healthz() -> Operation:
    """GET /healthz."""
    return Operation(
        id="healthz",
        tag=_HEALTH,
        summary="Alive",
        description="Answering at all is what it says.",
        answers={"200": answer("Alive.", "Alive", {"alive": {"status": "ok"}})},
    )


def readyz() -> Operation:
    """GET /readyz."""
    return Operation(
        id="readyz",
        tag=_HEALTH,
        summary="Ready for traffic",
        description="The baseline is loaded, and every candidate is loaded, failed or late.",
        answers={
            "200": answer("Ready.", "Readiness", {"ready": {"status": "ready", "waiting_for": {}}}),
            "503": {
                "description": "Not ready, or closing; or as many connections are open as may be.",
                "content": {
                    JSON: {
                        "schema": {
                            "anyOf": [
                                {"$ref": "#/components/schemas/Readiness"},
                                {"$ref": "#/components/schemas/Failure"},
                            ]
                        },
                        "examples": {
                            "not loaded yet": {
                                "summary": "not loaded yet",
                                "value": {"status": "waiting", "waiting_for": {"prod": "loading"}},
                            }
                        },
                    }
                },
            },
        },
    )


def metrics() -> Operation:
    """GET /metrics."""
    return Operation(
        id="metrics",
        tag=_HEALTH,
        summary="For Prometheus",
        description="Every metric, in the text format.",
        answers={"200": text("All series.", "text/plain")},
    )


def openapi_json() -> Operation:
    """GET /openapi.json."""
    found = {"description": "OpenAPI 3.1.", "content": {JSON: {"schema": {"type": "object"}}}}
    return Operation(
        id="openapi",
        tag=_HERE,
        summary="This document",
        description="For the settings in force: bounds and sources of user ids are theirs.",
        answers={"200": found},
    )


def docs() -> Operation:
    """GET /docs."""
    return Operation(
        id="docs",
        tag=_HERE,
        summary="This document as a page",
        description="Needs no network but the gateway itself.",
        answers={"200": text("The page.", "text/html")},
    )


def docs_parts(files: dict[str, str]) -> Operation:
    """GET /docs/{file}; `files` are media types by name."""
    content = {media_type: {"schema": {"type": "string"}} for media_type in files.values()}
    return Operation(
        id="docs_part",
        tag=_HERE,
        summary="What the page is made of",
        description="Its style sheet and its script.",
        parameters=(
            {
                "name": "file",
                "in": "path",
                "required": True,
                "description": "Which.",
                "schema": {"type": "string", "enum": list(files)},
                "example": next(iter(files)),
            },
        ),
        answers={
            "200": {"description": "The file.", "content": content},
            "404": failure(
                "404", "No such file.", f"no file 'x'; there are: {', '.join(files)}", "path"
            ),
        },
    )


def console() -> Operation:
    """GET /."""
    return Operation(
        id="console",
        tag=_HEALTH,
        summary="The console",
        description="What happens, at a glance. What it asks under `/console/` is its own.",
        answers={"200": text("The page.", "text/html")},
    )
