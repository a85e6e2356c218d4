"""The `gateway_experiment_*` and `gateway_feedback_*` series: the newest read-out, when asked for.

Only a candidate's present content has series. Nothing is kept between two scrapes, so those of
content that is served no more, and of a branch that was taken out, are gone with the next one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Set
from datetime import datetime
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.experiments.document import (
    ContrastReadout,
    ExperimentReadout,
    Feedback,
    GuardrailReadout,
    MetricReadout,
    Word,
)
from gateway.names import Branch

WORDS: tuple[str, ...] = get_args(Word)
#: What becomes of an outcome for good.
JOINED = ("accepted", "late", "duplicate", "unknown")
_DAY = 86_400.0
_OF_METRIC = ["branch", "metric"]

_Figure = Callable[[MetricReadout], float | None]
#: Of one metric: the series, what it says, and its figure.
_FIGURES: tuple[tuple[str, str, _Figure], ...] = (
    (
        "relative_lift_ratio",
        "A metric's relative difference from the baseline: 0.1 is ten percent more.",
        lambda one: one.relative.estimate if one.relative else None,
    ),
    (
        "relative_lift_low_ratio",
        "Lower end of its always-valid interval; absent where it has none.",
        lambda one: one.relative.low if one.relative else None,
    ),
    (
        "relative_lift_high_ratio",
        "Upper end of its always-valid interval; absent where it has none.",
        lambda one: one.relative.high if one.relative else None,
    ),
    ("p", "Smallest always-valid p of a metric so far.", lambda one: one.p),
    (
        "log_e_value",
        "Natural logarithm of a metric's largest e-value so far, of the exact method.",
        lambda one: one.log_e,
    ),
    (
        "expected_seconds",
        "Time to a decision at present traffic, were the estimate true.",
        lambda one: None if one.expected_days is None else one.expected_days * _DAY,
    ),
)


class ExperimentMetrics(Collector):
    """A collector of its own: `shown` says which branches have series now."""

    def __init__(self, shown: Callable[[], Set[Branch]]) -> None:
        self._shown = shown
        self._document: ExperimentReadout | None = None

    def show(self, document: ExperimentReadout | None) -> None:
        """Take what the monitor says now; None where it says nothing."""
        self._document = document

    def collect(self) -> Iterator[Metric]:
        document, shown = self._document, self._shown()
        # By name: the same series twice would spoil the whole page.
        current = {
            one.candidate: one
            for one in (document.contrasts if document else ())
            if one.current and one.candidate in shown
        }
        metrics = {
            (branch, metric.name): metric
            for branch, contrast in current.items()
            for metric in contrast.metrics
        }
        guardrails = {
            (branch, guardrail.name): guardrail
            for branch, contrast in current.items()
            for guardrail in contrast.guardrails
        }
        yield from _of_metrics(metrics)
        yield from _of_guardrails(guardrails)
        yield _of_split(current)
        yield from _of_feedback(document.feedback if document else Feedback())
        yield _written(document)


def _of_metrics(metrics: dict[tuple[str, str], MetricReadout]) -> Iterator[Metric]:
    status = GaugeMetricFamily(
        "gateway_experiment_status",
        "1 at the word that a metric of a candidate stands at, 0 at the others.",
        labels=[*_OF_METRIC, "status"],
    )
    for labels, metric in metrics.items():
        for word in WORDS:
            status.add_metric([*labels, word], word == metric.status)
    yield status
    for series, text, figure in _FIGURES:
        family = GaugeMetricFamily(f"gateway_experiment_{series}", text, labels=_OF_METRIC)
        for labels, metric in metrics.items():
            if (value := figure(metric)) is not None:
                family.add_metric(labels, value)
        yield family
    for series, text in (
        ("events", "Units with the event, of a metric that is one, by arm; of what is mature."),
        ("units", "Units that count for a metric, by arm; of what is mature."),
    ):
        family = GaugeMetricFamily(
            f"gateway_experiment_{series}", text, labels=[*_OF_METRIC, "arm"]
        )
        for labels, metric in metrics.items():
            family.add_metric([*labels, "baseline"], getattr(metric.baseline, series))
            family.add_metric([*labels, "candidate"], getattr(metric.candidate, series))
        yield family


def _of_guardrails(guardrails: dict[tuple[str, str], GuardrailReadout]) -> Iterator[Metric]:
    evidence = GaugeMetricFamily(
        "gateway_experiment_guardrail_log_e_value",
        "Natural logarithm of the largest e-value so far that a guardrail is breached.",
        labels=_OF_METRIC,
    )
    breached = GaugeMetricFamily(
        "gateway_experiment_guardrail_breached",
        "1 if the candidate does more harm than a guardrail's margin.",
        labels=_OF_METRIC,
    )
    for labels, guardrail in guardrails.items():
        breached.add_metric(labels, guardrail.breached)
        if guardrail.log_e is not None:
            evidence.add_metric(labels, guardrail.log_e)
    yield evidence
    yield breached


def _of_split(current: dict[str, ContrastReadout]) -> Metric:
    family = GaugeMetricFamily(
        "gateway_experiment_sample_ratio_mismatch",
        "1 if the units did not fall on candidate and baseline as their weights say.",
        labels=["branch"],
    )
    for branch, contrast in current.items():
        if contrast.sample_ratio is not None:
            family.add_metric([branch], contrast.sample_ratio.mismatch)
    return family


def _of_feedback(feedback: Feedback) -> Iterator[Metric]:
    joined = CounterMetricFamily(
        "gateway_feedback_joined",
        "Outcomes by what became of them: accepted; late; duplicate; unknown, without a request.",
        labels=["status"],
    )
    for status in JOINED:
        joined.add_metric([status], getattr(feedback, status))
    yield joined
    yield GaugeMetricFamily(
        "gateway_feedback_waiting",
        "Outcomes whose request was not seen yet, and may still be.",
        value=feedback.waiting,
    )


def _written(document: ExperimentReadout | None) -> Metric:
    family = GaugeMetricFamily(
        "gateway_experiment_written_timestamp_seconds",
        "When the monitor last wrote the read-out, in Unix time.",
        labels=[],
    )
    if document is not None:
        with contextlib.suppress(ValueError):
            family.add_metric([], datetime.fromisoformat(document.written).timestamp())
    return family
