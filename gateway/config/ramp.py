"""`ramp` of a branch in gateway.yaml: the share that it gets step by step, in place of a weight."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.config.mapping import Section
from gateway.config.quantities import Seconds

MOST_STEPS = 20
STEPS = (1.0, 5.0, 10.0, 25.0, 50.0)


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _rising(steps: tuple[float, ...]) -> tuple[float, ...]:
    before = 0.0
    for step in steps:
        if not before < step < 100:
            told = "must be percentages above 0 and below 100, each above the one before"
            raise ValueError(f"{told}, such as [1, 5, 25]; {step:g} is not")
        before = step
    return steps


class RampConfig(Section):
    """How a branch comes to its users: slowly, and no further while something is wrong."""

    steps: Annotated[
        tuple[float, ...],
        BeforeValidator(_listed),
        Field(min_length=1, max_length=MOST_STEPS),
        AfterValidator(_rising),
    ] = Field(
        default=STEPS,
        description="Percent of all users that the branch gets, one after the other.",
    )
    dwell: Seconds = Field(default=3600.0, description="Least time at a step.")
    min_units: int = Field(
        default=500,
        ge=1,
        description="Least number of users that the branch answered at a step before the next one.",
    )
