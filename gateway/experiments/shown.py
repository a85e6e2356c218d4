"""Numbers as the read-out's document has them: None where there is no bound."""

from __future__ import annotations

import math

from gateway.experiments.document import Bounds
from gateway.statistics.sequences import CannotSay, Interval


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def bounds(interval: Interval | CannotSay) -> Bounds | None:
    if isinstance(interval, CannotSay):
        return None
    return Bounds(finite(interval.estimate), finite(interval.low), finite(interval.high))


def counted(count: float, noun: str) -> str:
    """`1 unit`, `2,000 units`."""
    return f"{count:,.0f} {noun}" + ("" if count == 1 else "s")
