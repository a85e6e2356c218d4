"""What an experiment measures: metrics of outcomes, and those of the answers themselves.

Pure data, without numpy: the front reads it too.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["primary", "secondary", "guardrail", "off"]
Kind = Literal["binary", "mean", "ratio"]
Direction = Literal["up", "down"]

#: Values are rounded to multiples of it, so that their sums are the same in any order.
QUANTUM = 2.0**-20
#: Beyond it a bucket's sum might not be exact any more.
MOST_VALUE = 2.0**31


class Metric(msgspec.Struct, frozen=True):
    """One metric. Times are seconds.

    `binary`: has a unit had the event; `mean`: the sum of a unit's values, by units; `ratio`: the
    sum of rows' values by the rows that have one, or, where a `missing` one is `zero`, by all rows.
    A label's value is 1 where it equals the prediction and 0 where not.
    """

    name: str
    kind: Kind
    role: Role = "secondary"
    #: Where it ought to go.
    direction: Direction = "up"
    #: How long after the answer an outcome counts; 0: it is known with the answer.
    window: float = 86_400.0
    #: Relative difference that would not matter; of a guardrail, harm that is put up with.
    margin: float | None = None
    #: Units of both arms at which the interval is to be tightest.
    planned_units: int = 10_000
    missing: Literal["zero", "unknown"] = "zero"
    #: Of binary ones: most units have the event, so it is told as a mean and not as a rate.
    common: bool = False
    #: Of latency only: what is too slow.
    slo: float | None = None

    @property
    def built_in(self) -> bool:
        return self.name in BUILT_IN

    @property
    def definition(self) -> tuple[str, Kind, float, str, float | None]:
        """What its sums are of: edited, it begins anew."""
        return self.name, self.kind, self.window, self.missing, self.slo


#: Those that need no feedback: each is an event that must not get likelier.
BUILT_IN = ("error_rate", "timeout_rate", "latency_over_slo", "fallback_rate")
#: What no metric may be called: cells of units themselves, and of pairs, have these.
EXPOSURE, PAIRED = "exposure", "paired:"
SLO = 0.5


def built_in(name: str) -> Metric:
    """A built-in metric as it is where nothing else is said."""
    slo = SLO if name == "latency_over_slo" else None
    return Metric(name, "binary", "guardrail", "down", window=0.0, slo=slo)


def events_of(status: str, latency_ms: float | None, slo: float | None) -> tuple[str, ...]:
    """The built-in events of an answered or failed request, by its row's status."""
    found = _EVENTS.get(status, ())
    if slo is not None and latency_ms is not None and latency_ms > slo * 1000:
        return (*found, "latency_over_slo")
    return found


_EVENTS = {
    "invalid": ("error_rate",),
    "error": ("error_rate",),
    "timeout": ("timeout_rate",),
    "overload": ("fallback_rate",),
    "fallback_error": ("error_rate", "fallback_rate"),
    "fallback_timeout": ("timeout_rate", "fallback_rate"),
    "fallback_overload": ("fallback_rate",),
    "fallback_not_ready": ("fallback_rate",),
}


def rounded(value: float) -> float:
    """To a multiple of QUANTUM; exact below MOST_VALUE."""
    return round(value / QUANTUM) * QUANTUM
