"""What is said of one metric of a contrast, by its mature cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gateway.experiments import arrivals
from gateway.experiments.document import ArmFigures, MetricReadout, Ratio
from gateway.experiments.evidence import Terms
from gateway.experiments.forecasts import Traffic, forecast
from gateway.experiments.metrics import Metric
from gateway.experiments.shown import bounds, counted
from gateway.experiments.spans import Layout
from gateway.statistics.effects import Effect, effect
from gateway.statistics.looks import Grown, means_at_looks
from gateway.statistics.rates import RateRatio, log_evidence, rate_ratio
from gateway.statistics.sample_ratio import SampleRatio
from gateway.statistics.sequences import CannotSay, Interval
from gateway.statistics.standing import Standing, standing
from gateway.statistics.sums import Floats, product
from gateway.timestamps import rfc3339

_ADAPTIVE = CannotSay(
    "the weights adapt to outcomes, under which only the exact method of binary metrics holds"
)


@dataclass(frozen=True, slots=True)
class Background:
    """What holds for all metrics of a contrast."""

    terms: Terms
    exposures: Layout
    split: SampleRatio | CannotSay
    #: What is served in its place, as a clause; None of a contrast that is current.
    stale: str | None
    #: Units that no row tells of yet.
    unwritten: int


@dataclass(frozen=True, slots=True)
class _Found:
    """What one method says: at the last look, and as evidence at each."""

    finding: Effect | RateRatio | CannotSay
    log_e: Floats
    #: Of the estimate at each look: 1 if the candidate's is the higher one.
    direction: Floats

    @property
    def largest(self) -> float | None:
        """Of all looks; None where none could say anything."""
        said = self.log_e[np.isfinite(self.log_e)]
        mine = [self.finding.log_e] if isinstance(self.finding, RateRatio) else []
        return max([*map(float, said), *mine], default=None)

    @property
    def p(self) -> float | None:
        """By the looks that point where the last one does."""
        if isinstance(self.finding, CannotSay):
            return None
        agreed = self.log_e[self.direction == self.finding.direction]
        return min(self.finding.p, math.exp(min(0.0, -float(agreed.max(initial=-np.inf)))))

    def turned(self, alpha: float) -> bool:
        """Did an earlier look decide for the other side?"""
        largest = self.largest
        return (
            not isinstance(self.finding, CannotSay)
            and largest is not None
            and largest >= -math.log(alpha)
            and (self.p or 0) > alpha
        )


def metric_readout(metric: Metric, layout: Layout, background: Background) -> MetricReadout:
    """The whole of it; where nothing can be said, it says so."""
    terms = background.terms
    exact = metric.kind == "binary" and (terms.adaptive or not metric.common)
    means = _by_means(metric, layout, terms)
    found = _by_rates(metric, layout, terms) if exact else means
    outcomes = _outcomes(metric, layout)
    stands = _stands(metric, found, means, outcomes, background)
    traffic = _traffic(metric, layout, background)
    of_means = means.finding if isinstance(means.finding, Effect) else None
    days, expected = forecast(
        stands.word,
        of_means,
        layout.event_counts() if exact else None,
        traffic,
        margin=metric.margin,
        alpha=terms.alpha,
        planned_units=metric.planned_units,
    )
    largest = found.largest
    finding = found.finding
    baseline, candidate = figures(metric, layout, of_means)
    return MetricReadout(
        name=metric.name,
        role=metric.role,
        kind=metric.kind,
        direction=metric.direction,
        window=metric.window,
        margin=metric.margin,
        planned_units=metric.planned_units,
        status=stands.word,
        reason=stands.reason,
        method="exact" if exact else "asymptotic",
        baseline=baseline,
        candidate=candidate,
        difference=bounds(of_means.difference) if of_means else None,
        relative=None if isinstance(finding, CannotSay) else bounds(finding.relative),
        p=None if largest is None else math.exp(min(0.0, -largest)),
        log_e=largest,
        looks=layout.looks,
        alpha=terms.alpha,
        as_of=rfc3339(int(layout.ends[-1])) if layout.looks else None,
        pending_units=_pending(layout, background),
        expected_days=days,
        expected=stands.reason
        if finding is _ADAPTIVE and stands.word == "insufficient"
        else expected,
        arrivals=outcomes[1] if outcomes else None,
        late=_tallied(layout, "late"),
        duplicate=_tallied(layout, "duplicate"),
        warnings=tuple(_warnings(metric, found, terms)),
    )


def figures(
    metric: Metric, layout: Layout, found: Effect | None = None
) -> tuple[ArmFigures, ArmFigures]:
    """What each arm adds up to. Units are those that were seen for the first time in any epoch."""
    averages = (found.baseline, found.candidate) if found else layout.averages(metric)
    of = layout.cells if _is_of_outcomes(metric) else layout.exposed
    units, events, outcomes = (
        layout.by_arm(numbers)
        for numbers in (
            [cell.events for cell in of],
            [cell.events for cell in layout.cells],
            [
                cell.tallies.get("requests" if metric.built_in else "outcomes", 0)
                for cell in layout.cells
            ],
        )
    )
    baseline, candidate = (
        ArmFigures(
            int(units[arm]), int(events[arm]), int(outcomes[arm]), averages and averages[arm]
        )
        for arm in (0, 1)
    )
    return baseline, candidate


def _is_of_outcomes(metric: Metric) -> bool:
    """Is its mean taken of what has come alone?"""
    return metric.kind == "ratio" and metric.missing == "unknown"


def _by_means(metric: Metric, layout: Layout, terms: Terms) -> _Found:
    if terms.adaptive:
        return _nothing(_ADAPTIVE)
    if not layout.looks:
        return _nothing(CannotSay(_immature(metric)))
    epochs: list[Grown] = layout.grown(metric)
    planned = metric.planned_units
    finding = effect(
        [one.at() for one in epochs], metric.kind, alpha=terms.alpha, planned_units=planned
    )
    at_looks = means_at_looks(epochs, layout.looks, metric.kind)
    return _Found(finding, at_looks.log_e(terms.alpha, planned), at_looks.direction)


def _nothing(reason: CannotSay) -> _Found:
    return _Found(reason, np.empty(0), np.empty(0))


def _by_rates(metric: Metric, layout: Layout, terms: Terms) -> _Found:
    if not layout.looks:
        return _nothing(CannotSay(_immature(metric)))
    finding = rate_ratio(layout.event_counts(), alpha=terms.alpha)
    events = layout.events
    candidate, both = events[..., 1], events.sum(axis=2)
    log_e = log_evidence(candidate, both, layout.shares)
    log_e[both.sum(axis=1) == 0] = -np.inf
    # The likelihood's slope at equal rates has the sign of the estimate.
    direction = np.sign(candidate.sum(axis=1) - product(both, layout.shares))
    return _Found(finding, log_e, direction)


def _stands(
    metric: Metric,
    found: _Found,
    means: _Found,
    outcomes: tuple[SampleRatio | CannotSay, Ratio] | None,
    background: Background,
) -> Standing:
    terms, finding = background.terms, found.finding
    lift: Interval | CannotSay | None = None
    if isinstance(finding, RateRatio) and not terms.adaptive:
        lift = means.finding.relative if not isinstance(means.finding, CannotSay) else means.finding

    def stood(stale: str | None) -> Standing:
        return standing(
            finding,
            background.split,
            direction=metric.direction,
            margin=metric.margin,
            alpha=terms.alpha,
            p=found.p,
            stale=stale,
            lift=lift,
        )

    stands = stood(background.stale)
    if stands.word == "invalid":
        return stands
    if outcomes and outcomes[1].mismatch:
        return Standing("invalid", _uneven(outcomes[1]))
    if stands.word == "insufficient" and finding is _ADAPTIVE:
        # It is never going to be told, and so it is not too early either.
        return Standing("insufficient", f"Nothing can be said: {_ADAPTIVE.reason}.")
    if stands.word == "stale":
        return Standing("stale", f"{stands.reason} Until then: {stood(None).reason}")
    return stands


def _uneven(ratio: Ratio) -> str:
    return (
        f"Outcomes do not come of both branches as their weights say ({ratio.baseline:,} units of "
        f"the baseline have one, {ratio.candidate:,} of the candidate): those that are missing may "
        "differ from those that came, so these cannot be compared."
    )


def _outcomes(metric: Metric, layout: Layout) -> tuple[SampleRatio | CannotSay, Ratio] | None:
    """Whether units with outcomes fall on the arms as units do, where a missing one is unknown."""
    if metric.missing != "unknown" or metric.kind == "binary":
        return None
    counts = layout.events
    check = arrivals.checked(counts, layout.shares)
    return check, arrivals.shown(check, counts, layout.shares)


def _traffic(metric: Metric, layout: Layout, background: Background) -> Traffic:
    if not layout.looks:
        return Traffic(0, 0)
    units = layout.parts(metric)[0]
    if _is_of_outcomes(metric) or not background.exposures.looks:
        return Traffic(sum(units), layout.a_day(units))
    exposures = background.exposures
    return Traffic(sum(units), exposures.a_day(cell.units for cell in exposures.cells))


def _pending(layout: Layout, background: Background) -> int:
    mature = {key[:-1] for key in layout.keys}
    exposures = background.exposures
    return background.unwritten + sum(
        cell.units
        for key, cell in zip(exposures.keys, exposures.cells, strict=True)
        if key[:-1] not in mature
    )


def _tallied(layout: Layout, name: str) -> int:
    return sum(cell.tallies.get(name, 0) for cell in layout.cells)


def _warnings(metric: Metric, found: _Found, terms: Terms) -> list[str]:
    warnings = []
    if metric.role != "primary":
        warnings.append(
            f"Exploratory: the promise of at most {100 * terms.alpha:.3g} % of wrong decisions is "
            "the primary metric's alone."
        )
    if found.turned(terms.alpha):
        warnings.append(
            "An earlier look had decided for the other side, so its effect has changed since: "
            "look into what did."
        )
    return warnings


def _immature(metric: Metric) -> str:
    if not metric.window:
        return "no time span has been read to its end yet"
    return f"nothing is mature yet, as outcomes count for {_span(metric.window)} after the answer"


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= unit and seconds % unit == 0:
            return counted(seconds / unit, name)
    return f"{seconds:g} seconds"
