"""When a candidate at the end of its ramp is fit to be merged: no guardrail may be much worse.

Of each guardrail one of two things must be shown, both at any look and not only at one:

- its always-valid interval ends below the margin: the event is at most 1 + margin times as likely
  as with the baseline. Without a margin, and where one is finer than an exact interval ever gets in
  practice, `MARGIN` stands in: an interval of rates is never narrower than 5 % to either side, so
  a margin of 0 would never be reached by a candidate that is as good as the baseline.
- or the event is too rare to matter: fewer than one in `RARE` of the candidate's units have it. A
  service without errors is never compared by ratios, as there is no event to compare.

Pure, without numpy.
"""

from __future__ import annotations

import math

from gateway.experiments.document import ContrastReadout, GuardrailReadout, MetricReadout

#: Relative harm below which a candidate is ready, where its guardrail names none, and the least of
#: a rate that is taken at its word.
MARGIN, FINEST = 0.25, 0.1
#: A share of units that is next to nothing, and the chance to be wrong there.
RARE, ALPHA = 1 / 200, 0.05
#: Rates below `RARE`, as parts of it, that are weighed against it; all weigh the same.
_RARER = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7)


def not_ready(readout: ContrastReadout | None) -> str:
    """What is still to be shown, as a clause without figures that change; "" if nothing is."""
    if readout is None:
        return "there is no comparison with the baseline yet"
    if readout.sample_ratio is not None and readout.sample_ratio.mismatch:
        return "users did not fall on the branches by their weights"
    primary = next((one for one in readout.metrics if one.role == "primary"), None)
    if primary is not None and primary.status == "worse":
        return f"{primary.name}, the primary metric, is worse"
    by_name = {metric.name: metric for metric in readout.metrics}
    waiting = [
        clause
        for guardrail in readout.guardrails
        if (clause := _unsettled(guardrail, by_name.get(guardrail.name)))
    ]
    return "; ".join(waiting)


def _unsettled(guardrail: GuardrailReadout, metric: MetricReadout | None) -> str:
    if guardrail.breached:
        return f"{guardrail.name} is breached, though an operator released it"
    margin = _margin(guardrail, metric)
    if metric is not None and metric.relative is not None and _within(metric, margin):
        return ""
    rate = metric is None or (metric.kind == "binary" and metric.direction == "down")
    if rate and is_rare(guardrail.candidate.events, guardrail.candidate.units):
        return ""
    worse = "lower" if metric is not None and metric.direction == "up" else "higher"
    return f"{guardrail.name} may still be more than {margin * 100:g} % {worse}"


def _margin(guardrail: GuardrailReadout, metric: MetricReadout | None) -> float:
    exact = metric is None or metric.method == "exact"
    margin = (metric and metric.margin) or 0.0
    return margin if margin >= FINEST or (margin > 0 and not exact) else MARGIN


def _within(metric: MetricReadout, margin: float) -> bool:
    assert metric.relative is not None
    if metric.direction == "down":
        return metric.relative.high is not None and metric.relative.high <= margin
    return metric.relative.low is not None and metric.relative.low >= -margin


def is_rare(events: int, units: int, rare: float = RARE, alpha: float = ALPHA) -> bool:
    """Is the rate below `rare`? By an e-value of a mixture of lower rates, valid at any look."""
    parts = []
    for part in _RARER:
        gain = events * math.log(part) if part else -math.inf if events else 0.0
        loss = (units - events) * (math.log1p(-part * rare) - math.log1p(-rare))
        parts.append(gain + loss)
    most = max(parts)
    log_e = most + math.log(sum(math.exp(one - most) for one in parts) / len(parts))
    return log_e >= -math.log(alpha)
