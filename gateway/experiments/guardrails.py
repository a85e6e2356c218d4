"""Whether a candidate does harm, by each guardrail: of everything up to now, mature or not."""

from __future__ import annotations

import math

from gateway.experiments.document import GuardrailReadout
from gateway.experiments.evidence import Terms
from gateway.experiments.findings import figures
from gateway.experiments.metrics import Metric
from gateway.experiments.shown import finite
from gateway.experiments.spans import Layout
from gateway.statistics.effects import effect
from gateway.statistics.guardrail import log_harm
from gateway.statistics.looks import means_at_looks
from gateway.statistics.sequences import CannotSay
from gateway.statistics.sums import product

#: Beyond it, only how small a chance is is of interest.
_SURE = math.log(1e9)


def is_exact(metric: Metric) -> bool:
    """Is it an event that must not get likelier? Of others, only what is mature is compared."""
    return metric.kind == "binary" and metric.direction == "down"


def guardrail_readout(metric: Metric, layout: Layout, terms: Terms) -> GuardrailReadout:
    margin = metric.margin or 0.0
    baseline, candidate = figures(metric, layout)
    log_e: float | None = None
    if is_exact(metric):
        log_e, breached, reason = _by_events(metric, layout, terms)
    elif terms.adaptive:
        breached = False
        reason = "Not watched: the weights adapt to outcomes, under which only events can be told."
    else:
        breached, reason = _by_means(metric, layout, terms)
    return GuardrailReadout(
        name=metric.name,
        breached=breached,
        log_e=log_e,
        threshold=-math.log(terms.guardrail_alpha),
        margin=margin,
        baseline=baseline,
        candidate=candidate,
        reason=reason,
    )


def _by_events(metric: Metric, layout: Layout, terms: Terms) -> tuple[float | None, bool, str]:
    margin = metric.margin or 0.0
    both = layout.events.sum(axis=2)
    if not both.any():
        reason = "no unit of either branch has had the event yet"
        return None, False, f"Nothing is known against it: {reason}."
    candidate = layout.events[..., 1]
    log_e = float(log_harm(candidate, both, layout.shares, 1 + margin).max())
    breached = log_e >= -math.log(terms.guardrail_alpha)
    equal = product(both[-1], layout.shares)
    counts = (
        f"{candidate[-1].sum():,.0f} of the {both[-1].sum():,.0f} units with {metric.name} are the "
        f"candidate's, where equal rates would make it {equal:,.{int(equal < 100)}f}"
    )
    allowed = f" by more than the margin of {margin * 100:.3g} %" if margin else ""
    if breached:
        return log_e, True, f"Likelier on the candidate{allowed} ({_chance(log_e)}): {counts}."
    return finite(log_e), False, f"Not known to be likelier on the candidate{allowed}: {counts}."


def _chance(log_e: float) -> str:
    if log_e >= _SURE:
        return "chance gives that in less than 1 of a billion experiments"
    return f"chance gives that in 1 of {float(f'{math.exp(log_e):.2g}'):,.0f} experiments at most"


def _by_means(metric: Metric, layout: Layout, terms: Terms) -> tuple[bool, str]:
    """At any look so far: its interval lay beyond the margin, on the bad side."""
    if not layout.looks:
        return False, "Too early to say: nothing is mature yet."
    margin, planned, alpha = metric.margin or 0.0, metric.planned_units, terms.guardrail_alpha
    epochs = layout.grown(metric)
    found = effect([one.at() for one in epochs], metric.kind, alpha=alpha, planned_units=planned)
    low, high = means_at_looks(epochs, layout.looks, metric.kind).lift(alpha, planned)
    bad = low > margin if metric.direction == "down" else high < -margin
    if bad.any():
        return True, _harmful(metric, float(low[bad.argmax()]), float(high[bad.argmax()]), alpha)
    if isinstance(found, CannotSay):
        return False, f"Too early to say: {found.reason}."
    if isinstance(found.relative, CannotSay):
        return False, f"Not known to do harm, as nothing can be told: {found.relative.reason}."
    shown = _range(found.relative.low, found.relative.high, alpha)
    return False, f"Not known to do harm: {metric.name} {shown}."


def _harmful(metric: Metric, low: float, high: float, alpha: float) -> str:
    worse = "higher" if metric.direction == "down" else "lower"
    margin = (metric.margin or 0.0) * 100
    return f"{metric.name} is {worse} by more than {margin:.3g} %: {_range(low, high, alpha)}."


def _range(low: float, high: float, alpha: float) -> str:
    return f"{low * 100:+.3g} % to {high * 100:+.3g} % ({100 * (1 - alpha):.4g} % interval)"
