"""Branches: what serves, how it drifts, what was recorded."""

from __future__ import annotations

from typing import Any

from gateway.config import Config
from gateway.web.openapi.operations import (
    JSON,
    Operation,
    answer,
    branch_parameter,
    failure,
    named,
    text,
)
from gateway.web.openapi.schemas import ref
from gateway.web.views import KINDS

_UNKNOWN = "no branch 'x' is served; there are: prod, ab-test-210323"


def _no_branch(**more: Any) -> dict[str, Any]:
    return failure("404", "No such branch is configured.", _UNKNOWN, "path", **more)


def branches() -> Operation:
    """GET /branches."""
    return Operation(
        id="branches",
        tag="Branches",
        summary="What serves, and what is wanted",
        description="The gateway as a whole and every branch, with all that is wrong in words.",
        answers={
            "200": answer(
                "As it is now.",
                "GatewayStatus",
                links={
                    "baseline": {
                        "operationId": "branch",
                        "description": "The baseline by itself.",
                        "parameters": {"branch": "$response.body#/baseline"},
                    }
                },
            )
        },
    )


def branch(config: Config) -> Operation:
    """GET /branches/{branch}."""
    return Operation(
        id="branch",
        tag="Branches",
        summary="One branch",
        description="What serves, what is wanted, and why they differ.",
        parameters=(branch_parameter(config),),
        answers={"200": answer("As it is now.", "BranchStatus"), "404": _no_branch()},
    )


def drift(config: Config) -> Operation:
    """GET /branches/{branch}/drift."""
    unknown = ("fingerprint", "commit", "severity", "drifted", "trouble", "reference", "collected")
    nothing: dict[str, Any] = {
        "branch": str(config.baseline),
        "state": "waiting",
        **dict.fromkeys((*unknown, "window", "open", "rules", "between")),
        "columns": [],
    }
    return Operation(
        id="drift",
        tag="Branches",
        summary="How far a branch's rows moved",
        description="By column, for the last window that closed, and beside the baseline's rows.",
        parameters=(branch_parameter(config),),
        answers={
            "200": answer("What the monitor said last.", "Drift", {"no rows yet": nothing}),
            "404": _no_branch(),
        },
    )


def rows(config: Config) -> Operation:
    """GET /branches/{branch}/monitoring/{kind}.csv."""
    disposition = {
        "description": "Its name as a file.",
        "required": True,
        "schema": {"type": "string"},
    }
    return Operation(
        id="rows",
        tag="Branches",
        summary="A branch's published rows as one CSV file",
        description="The header once, then every row of the segments in the repository.",
        parameters=(
            branch_parameter(config),
            {
                "name": "kind",
                "in": "path",
                "required": True,
                "description": "Of what.",
                "schema": {"type": "string", "enum": list(KINDS)},
                "example": KINDS[0],
            },
        ),
        answers={
            "200": text("All rows.", "text/csv", headers={"Content-Disposition": disposition}),
            "404": failure("404", "No such branch or kind.", _UNKNOWN, "path"),
            "502": failure(
                "502",
                "The repository cannot be read, or the branch is not in it.",
                "the remote cannot be reached",
                "https://git.example.org/team/project.git",
            ),
        },
    )


def hold(config: Config) -> Operation:
    """POST /branches/{branch}/hold."""
    said = {"reason": "looking into its latency"}
    return _operated(
        config,
        name="hold",
        summary="Keep a branch where it is",
        description="Its share of the users stays, whatever a ramp or a bandit would make of it;"
        " with `out` it gets none.",
        shape="Hold",
        examples={"as it is": said, "without users": {**said, "out": True}},
    )


def release(config: Config) -> Operation:
    """POST /branches/{branch}/release."""
    return _operated(
        config,
        name="release",
        summary="End a hold, or an ejection",
        description="The weight of gateway.yaml, or the ramp, is in force again.",
        shape="Release",
        examples={"with a reason": {"reason": "it was the network"}},
    )


def _operated(
    config: Config,
    *,
    name: str,
    summary: str,
    description: str,
    shape: str,
    examples: dict[str, Any],
) -> Operation:
    late = "the monitor took it not within 10 s, and it is withdrawn"
    return Operation(
        id=name,
        tag="Branches",
        summary=summary,
        description=f"{description} Answered once it is in force.",
        parameters=(branch_parameter(config, candidate=True),),
        body={
            "description": "JSON, and said to be; at most 16 KiB. An empty one gives no reason.",
            "required": False,
            "content": {JSON: {"schema": ref(shape), "examples": named(examples)}},
        },
        answers={
            "200": answer("In force.", "Operated"),
            "400": failure(
                "400",
                "The body is not of this form, or the branch is the baseline.",
                "must be application/json",
                "header Content-Type",
            ),
            "404": _no_branch(),
            "413": failure("413", "More than 16 KiB.", "at most 16384 bytes. Given: more", "body"),
            "503": failure("503", "The monitor did not take it in time.", late, "ab-test-210323"),
        },
    )
