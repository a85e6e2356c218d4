"""The shapes of small answers, which their rooms write by hand."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gateway.experiments.allocation import State as AllocationState
from gateway.experiments.feedback import Judged, OutcomeState

#: What an error's `type` can be. The first of a status is the usual one.
TYPES: dict[str, tuple[str, ...]] = {
    "400": ("bad_request",),
    "404": ("not_found",),
    "405": ("method_not_allowed",),
    "408": ("too_slow",),
    "413": ("too_large",),
    "422": ("invalid_instances",),
    "429": ("too_many",),
    "431": ("too_large",),
    "401": ("unauthorised",),
    "403": ("forbidden",),
    "500": ("internal", "model_error"),
    "502": ("repository",),
    "503": ("unavailable",),
    "504": ("timeout",),
}


class Error(msgspec.Struct):
    """What is wrong, what would be right, and where."""

    type: str
    message: str
    where: str | None


class Failure(msgspec.Struct):
    """The body of every error."""

    error: Error


class Predictions(msgspec.Struct):
    """One prediction a row, with who answered."""

    predictions: list[Any]
    request_id: str
    branch: str
    commit: str
    probabilities: list[Any] | msgspec.UnsetType = msgspec.UNSET


class JudgedItems(msgspec.Struct):
    """What became of each item, in their order."""

    items: list[Judged]


class Outcomes(msgspec.Struct):
    """What became of a request's outcomes."""

    request_id: str
    items: list[OutcomeState]
    note: str | msgspec.UnsetType = msgspec.UNSET


class Alive(msgspec.Struct):
    """The process answers."""

    status: Literal["ok"]


class Readiness(msgspec.Struct):
    """Whether requests should be sent here, and what is waited for if not."""

    status: Literal["ready", "waiting", "closing"]
    waiting_for: dict[str, str]


class Delivery(msgspec.Struct):
    """What became of a git server's call."""

    status: Literal["accepted", "replayed", "ignored"]


class Operated(msgspec.Struct):
    """What an operator's word came to."""

    branch: str
    action: Literal["hold", "release"]
    state: AllocationState | None
    share: float | None
    text: str
