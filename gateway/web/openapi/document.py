"""The OpenAPI 3.1 document of a gateway, for the settings in force. Pure."""

from __future__ import annotations

from typing import Any

from gateway import __version__
from gateway.access.scopes import Scope
from gateway.config import Config
from gateway.web.openapi import asking, looking, operating
from gateway.web.openapi.operations import SHARED, Operation, failure, header
from gateway.web.openapi.schemas import schemas
from gateway.web.permissions import PERMISSIONS

TAGS = {
    "Predictions": "Ask the models.",
    "Outcomes": "Say what became of predictions, and see which branch is better.",
    "Branches": "See what serves, how it drifts, and what was recorded.",
    "Health": "For whoever watches the process.",
    "Git server": "For the git server's webhook.",
    "Documentation": "This document and its page.",
}
_ABOUT = """Serves the models of a git repository's branches, gives every user a branch by weight, \
and answers with the branch and commit that answered.

Every JSON body is an object. Every error is `{"error": {"type", "message", "where"}}`: a word for \
programs, what is wrong and what would be right, and the place. Fields may be added; what is there \
keeps its meaning."""

_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key, as a bearer token."},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "A key, as the password of any user name.",
    },
}


def operations(config: Config, files: dict[str, str]) -> dict[tuple[str, str], Operation]:
    """Every operation by method and path; `files` is what the page is made of."""
    return {
        ("post", "/predict"): asking.predict(config),
        ("post", "/branches/{branch}/predict"): asking.predict_by(config),
        ("post", "/feedback"): asking.feedback(config),
        ("get", "/feedback/{request_id}"): asking.outcomes(),
        ("get", "/experiment"): asking.experiment(config),
        ("get", "/branches"): looking.branches(),
        ("get", "/branches/{branch}"): looking.branch(config),
        ("get", "/branches/{branch}/drift"): looking.drift(config),
        ("get", "/branches/{branch}/monitoring/{kind}.csv"): looking.rows(config),
        ("post", "/branches/{branch}/hold"): looking.hold(config),
        ("post", "/branches/{branch}/release"): looking.release(config),
        ("get", "/healthz"): operating.healthz(),
        ("get", "/readyz"): operating.readyz(),
        ("get", "/metrics"): operating.metrics(),
        ("post", "/webhooks/git"): operating.webhook(),
        ("get", "/"): operating.console(),
        ("get", "/openapi.json"): operating.openapi_json(),
        ("get", "/docs"): operating.docs(),
        ("get", "/docs/{file}"): operating.docs_parts(files),
    }


def document(config: Config, files: dict[str, str]) -> dict[str, Any]:
    """All of it."""
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in operations(config, files).items():
        needs = PERMISSIONS[method.upper(), path.replace("{branch}", "{branch:path}")]
        anonymous = set(needs) <= set(config.anonymous)
        paths.setdefault(path, {})[method] = _described(operation, needs, anonymous=anonymous)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Branch gateway",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": said} for name, said in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas(config),
            "responses": {f"Any{status}": one for status, one in SHARED.items()},
            "securitySchemes": _SCHEMES,
        },
    }


def _described(
    operation: Operation, needs: tuple[Scope, ...], *, anonymous: bool
) -> dict[str, Any]:
    answers = {
        **{status: {"$ref": f"#/components/responses/Any{status}"} for status in SHARED},
        **(_refusals(needs) if needs else {}),
        **operation.answers,
    }
    found: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
    }
    if operation.parameters:
        found["parameters"] = list(operation.parameters)
    if operation.body is not None:
        found["requestBody"] = operation.body
    if needs:
        without: list[dict[str, Any]] = [{}] if anonymous else []
        found["security"] = [*without, {"key": list(needs)}, {"basic": list(needs)}]
    found["responses"] = dict(sorted(answers.items()))
    return found


def _refusals(needs: tuple[Scope, ...]) -> dict[str, Any]:
    """What the guard says to those who may not ask this, or not now."""
    scopes = " and ".join(f"`{scope}`" for scope in needs)
    challenge = {"WWW-Authenticate": header("How to send a key.", {"type": "string"})}
    return {
        "401": failure(
            "401",
            "A key is needed, or this one is not known.",
            "this key is not known here, or not any more",
            "Authorization",
            headers=challenge,
        ),
        "403": failure(
            "403",
            f"The key lacks {scopes}, or a page of another site asks.",
            f"needs the scope {needs[-1]}; the key prometheus has the scope read",
            "Authorization",
        ),
        "429": failure(
            "429",
            "More than this caller may ask for: `access` in gateway.yaml, or the key's `rate`.",
            "too many requests of this address without a key: `access.rate`",
            None,
        ),
    }
