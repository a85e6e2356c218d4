"""What is measured, of the settings in force; and what a change of them means for the counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from gateway.experiments.evidence import Terms
from gateway.experiments.metrics import Metric
from gateway.monitoring.experiments.book import Book
from gateway.monitoring.experiments.observing import Serving, is_served
from gateway.monitoring.experiments.tally import Rules
from gateway.monitoring.monitor_settings import ExperimentSettings
from gateway.names import Branch
from gateway.store.ledger import Ledger

_HOUR = 3600
#: About how many time spans there are before they get longer.
_SPANS = 500


def span_of(metrics: Iterable[Metric], age: float = 0.0) -> int:
    """Seconds of the time spans that units are counted in: as long as the shortest window at first.

    The older an experiment gets, the longer they are, so that there are never too many to be read.
    """
    windows = [metric.window for metric in metrics if metric.window > 0]
    span = max(1, math.ceil(min(windows, default=_HOUR)))
    while span < _HOUR and span * _SPANS < age:
        span *= 2
    return min(_HOUR, span)


def rules_of(
    settings: ExperimentSettings, book: Book, serving: Mapping[Branch, Serving], now: float
) -> Rules:
    begun = [one.first for one in book.known.contrasts.values() if is_served(one, serving)]
    metrics = {metric.name: metric for metric in settings.metrics}
    slow = metrics.get("latency_over_slo")
    return Rules(
        metrics=metrics,
        since=book.state.since,
        span=span_of(settings.metrics, now - min(begun, default=now)),
        kept=book.state.kept,
        slo=slow.slo if slow is not None else None,
        indexes=any(metric.window > 0 for metric in settings.metrics),
    )


def terms_of(settings: ExperimentSettings, book: Book) -> Terms:
    candidates = sum(
        not one.shadow and (one.weight > 0 or one.ramp is not None)
        for one in settings.branches.values()
    )
    return Terms(
        metrics=settings.metrics,
        # One of the branches with weight is the baseline.
        alpha=settings.alpha / max(1, candidates - 1),
        guardrail_alpha=settings.guardrail_alpha,
        adaptive=settings.adaptive,
    )


def agree(
    settings: ExperimentSettings,
    book: Book,
    ledger: Ledger,
    serving: Mapping[Branch, Serving],
    now: float,
) -> bool:
    """Begin a metric anew where its definition was edited: its sums would be of two things.

    What is served no more stays as it was counted, and as it was told last. Returns whether any
    sets of units were emptied.
    """
    _note_edits(settings, book, now)
    known = book.known
    known.measured, known.kept = book.state.metrics, book.state.kept
    terms = terms_of(settings, book)
    edited = []
    for name, contrast in known.contrasts.items():
        if is_served(contrast, serving):
            known.note(name, known.agree(name, terms))
            edited += [(name, metric) for metric in known.measure(name)]
    if edited:
        with ledger.whole():
            for name, metric in edited:
                book.forget_metric(ledger, name, metric)
            book.save(ledger)
    return bool(edited)


def _note_edits(settings: ExperimentSettings, book: Book, now: float) -> None:
    """Since when each metric is what it is now; to be saved with what is counted by it."""
    state = book.state
    metrics = {metric.name: metric for metric in settings.metrics}
    if metrics == state.metrics:
        return
    for name in metrics.keys() | state.metrics.keys():
        before, after = state.metrics.get(name), metrics.get(name)
        if before is not None and after is not None and before.definition == after.definition:
            continue
        state.since.pop(name, None)
        # At the very first there is nothing that was counted without it.
        if after is not None and state.metrics:
            state.since[name] = now
    state.metrics = metrics


def terms_for(contrast: str, terms: Terms, book: Book, serving: Mapping[Branch, Serving]) -> Terms:
    """Those of one contrast: of what is served no more, the ones it was told by last."""
    known = book.known.contrasts[contrast]
    if known.terms is not None and not is_served(known, serving):
        return known.terms
    return book.known.agree(contrast, terms)
