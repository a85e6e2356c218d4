"""`metrics` in gateway.yaml: what an experiment measures, and what it measures unasked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from gateway.config.mapping import Section
from gateway.config.quantities import Seconds
from gateway.experiments.metrics import (
    BUILT_IN,
    EXPOSURE,
    Direction,
    Kind,
    Metric,
    Role,
    built_in,
)

MOST_METRICS = 20
MOST_WINDOW = 90 * 86400.0
#: What a built-in metric leaves to be said, and the one of them that is about time.
_OF_BUILT_IN, _SLOW = ("role", "margin"), "latency_over_slo"

#: Measured where gateway.yaml names no metric of its own.
DEFAULTS = (
    Metric("accuracy", "ratio", "primary", missing="unknown"),
    Metric("reward", "mean", "secondary"),
)


def _name(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[a-z][a-z0-9_]{0,63}", value) is None:
        raise ValueError("must be up to 64 small letters, digits and _, beginning with a letter")
    if value == EXPOSURE:
        raise ValueError("must be another name: rows of the users themselves have this one")
    return value


def _window(value: float) -> float:
    if not 1 <= value <= MOST_WINDOW:
        raise ValueError("must be from 1s to 90d")
    return value


MetricName = Annotated[str, BeforeValidator(_name)]


class MetricConfig(Section):
    """One metric. Of a built-in one only `role`, `margin` and, of latency, `slo` may be said."""

    kind: Kind | None = Field(
        default=None,
        description="What counts, required of metrics of your own. `binary`: has a user had the"
        " event; `mean`: the sum of a user's values; `ratio`: the values of rows, also labels.",
    )
    role: Role | None = Field(
        default=None,
        description="`primary` decides, and is one at most; a `guardrail` ejects a branch that does"
        " harm; `off` leaves it out. Else `secondary`, or `guardrail` of a built-in one.",
    )
    direction: Direction = Field(default="up", description="Where it ought to go.")
    margin: Annotated[float, Field(ge=0, le=10)] | None = Field(
        default=None,
        description="Relative difference that would not matter, 0.02 is 2 percent; of a guardrail,"
        " harm that is put up with.",
    )
    planned_units: int = Field(
        default=10_000,
        ge=1,
        le=10**9,
        description="Users of both branches at which the interval is to be tightest.",
    )
    window: Annotated[Seconds, AfterValidator(_window)] = Field(
        default=86400.0, description="How long after the answer an outcome counts."
    )
    common: bool = Field(
        default=False,
        description="Of a binary one: most users have the event, so its mean is compared, not its"
        " rate.",
    )
    missing: Literal["zero", "unknown"] | None = Field(
        default=None,
        description="Of a ratio: rows without an outcome are left out (`unknown`, as without this)"
        " or count as 0 (`zero`).",
    )
    slo: Seconds | None = Field(
        default=None, description="Of latency_over_slo: what is too slow; without this, 500ms."
    )

    @field_validator("common")
    @classmethod
    def _of_binary(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("kind", "binary") != "binary":
            raise ValueError("must be left out without kind: binary")
        return value

    @field_validator("missing")
    @classmethod
    def _of_a_ratio(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("kind", "ratio") != "ratio":
            raise ValueError("must be left out without kind: ratio")
        return value


def measured(configured: Mapping[str, MetricConfig]) -> tuple[Metric, ...]:
    """Everything that is measured, the primary one first; those that are off are left out.

    Metrics of one's own stand in place of the defaults, built-in ones beside them.
    """
    own = [_own(name, said) for name, said in configured.items() if name not in BUILT_IN]
    found = own or list(DEFAULTS)
    found += [_built_in(name, configured.get(name)) for name in BUILT_IN]
    if sum(metric.role == "primary" for metric in found) > 1:
        # A built-in one was made the primary one, and nothing was said of the default ones.
        found = [_secondary(metric) if metric in DEFAULTS else metric for metric in found]
    kept = [metric for metric in found if metric.role != "off"]
    return tuple(sorted(kept, key=lambda metric: metric.role != "primary"))


def _secondary(metric: Metric) -> Metric:
    return msgspec.structs.replace(metric, role="secondary")


def _own(name: str, said: MetricConfig) -> Metric:
    # Only one that is off may be without a kind.
    kind = said.kind or "binary"
    return Metric(
        name,
        kind,
        said.role or "secondary",
        said.direction,
        said.window,
        said.margin,
        said.planned_units,
        missing=said.missing or ("unknown" if kind == "ratio" else "zero"),
        common=said.common,
    )


def _built_in(name: str, said: MetricConfig | None) -> Metric:
    metric = built_in(name)
    if said is None:
        return metric
    role, slo = said.role or metric.role, said.slo or metric.slo
    return msgspec.structs.replace(metric, role=role, margin=said.margin, slo=slo)


def misplaced(name: str, said: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings that a metric of this name must not have, or must: each with what would be right."""
    if name not in BUILT_IN:
        found = [("slo", f"must be left out: only {_SLOW} has one")] if "slo" in said else []
        if "kind" not in said and said.get("role") != "off":
            kinds = "binary, mean or ratio"
            found.append(("kind", f"is missing: a metric of your own is of kind {kinds}"))
        return found
    may = (*_OF_BUILT_IN, "slo") if name == _SLOW else _OF_BUILT_IN
    known = f"{', '.join(may[:-1])} and {may[-1]}"
    text = f"must be left out: of {name}, which is built in, only {known} can be set"
    return [(key, text) for key in said if key not in may]
