"""How long until a metric is decided, if everything goes on as it does now."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gateway.experiments.document import Word
from gateway.experiments.shown import counted
from gateway.statistics.effects import Effect
from gateway.statistics.rates import log_evidence
from gateway.statistics.sequences import Interval, half_width, tuning
from gateway.statistics.sums import EventCounts, columns

#: Nothing is foretold beyond ten years.
_MOST_DAYS = 3_650.0
_SILENT: dict[Word, str] = {
    "invalid": "Nothing can be told while what arrives is not as the weights say.",
    "stale": "Nothing more is to come of content that is served no more.",
    "insufficient": "Nothing can be told before there is enough to estimate anything.",
}

#: Would it be decided with so many times what there is now?
_Decided = Callable[[float], bool]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Units so far, and how many more come in a day."""

    units: float
    a_day: float


def forecast(
    word: Word,
    effect: Effect | None,
    events: list[EventCounts] | None,
    traffic: Traffic,
    *,
    margin: float | None,
    alpha: float,
    planned_units: int,
) -> tuple[float | None, str]:
    """Days, and a sentence. `events`: of a metric that is decided by the exact ratio of rates.

    `effect`: of means, where there is enough for one.
    """
    if word in _SILENT:
        return None, _SILENT[word]
    if word != "running":
        return 0.0, "It is decided."
    if not traffic.a_day or not traffic.units:
        return None, "Nothing can be told, as no unit came in the newest day of what is mature."
    most = 1 + _MOST_DAYS * traffic.a_day / traffic.units
    differs = _rates_differ(events, alpha) if events is not None else None
    equal = None
    if effect is not None:
        if differs is None:
            differs = _means_differ(effect, alpha, planned_units)
        equal = _means_are_equal(effect, margin, alpha, planned_units)
    shown = f"At the present {counted(_about(traffic.a_day), 'unit')} a day"
    told = [
        ((factor - 1) * traffic.units / traffic.a_day, ends)
        for decided, ends in ((differs, _SEEN), (equal, _EQUAL))
        if decided is not None and (factor := _first(decided, most)) is not None
    ]
    if not told:
        return None, f"{shown}, a difference as small as the present one would take over ten years."
    days, ends = min(told)
    return days, f"{shown}, {ends.format(_days(days))}."


_SEEN = "a difference as small as the present one would take {} more"
_EQUAL = "it would take {} more until any difference is sure to be less than the margin"


def _about(units: float) -> float:
    """Two figures: the traffic of a day is never the same as another's."""
    return float(f"{units:.2g}") if units >= 100 else units


def _days(days: float) -> str:
    return "less than a day" if days < 1 else f"about {counted(math.ceil(days), 'day')}"


def _means_differ(effect: Effect, alpha: float, planned_units: int) -> _Decided:
    """Its error shrinks as the root of what there is grows."""
    rho2, wanted = tuning(alpha, planned_units), abs(effect.difference.estimate)

    def decided(factor: float) -> bool:
        error, units = effect.error / math.sqrt(factor), effect.units * factor
        return bool(half_width(error, units, rho2, alpha) <= wanted)

    return decided


def _means_are_equal(
    effect: Effect, margin: float | None, alpha: float, planned_units: int
) -> _Decided | None:
    lift = effect.relative
    if margin is None or not isinstance(lift, Interval):
        return None
    rho2, room = tuning(alpha, planned_units), margin - abs(lift.estimate)
    error = (lift.high - lift.estimate) / float(half_width(1.0, effect.units, rho2, alpha))

    def decided(factor: float) -> bool:
        reach = half_width(error / math.sqrt(factor), effect.units * factor, rho2, alpha)
        return bool(reach <= room)

    return decided


def _rates_differ(events: list[EventCounts], alpha: float) -> _Decided:
    x, t, w = columns(events)

    def decided(factor: float) -> bool:
        return float(log_evidence(x * factor, t * factor, w)) >= -math.log(alpha)

    return decided


def _first(decided: _Decided, most: float) -> float | None:
    """The smallest such factor above 1; what is undecided at 1 gets decided once, if ever."""
    low, high = 0.0, math.log(most)
    if not decided(most):
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if decided(math.exp(middle)) else (middle, high)
    return float(np.exp(high))
