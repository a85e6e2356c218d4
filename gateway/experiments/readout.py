"""The read-out of one contrast: a pure function of its sums, live or read back from rows.

Looks are at the ends of time spans, in their order, and the smallest p and the largest e-value so
far decide; so whoever has the same rows finds the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.experiments import arrivals
from gateway.experiments.cells import Cell, CellKey, thinned
from gateway.experiments.document import (
    ContrastReadout,
    EpochReadout,
    GuardrailReadout,
    MetricReadout,
    PairedReadout,
)
from gateway.experiments.evidence import Evidence, Terms
from gateway.experiments.findings import Background, metric_readout
from gateway.experiments.guardrails import guardrail_readout, is_exact
from gateway.experiments.metrics import EXPOSURE, PAIRED
from gateway.experiments.notes import multiple_units, notes, without_unit
from gateway.experiments.pairs import paired_readout
from gateway.experiments.spans import Layout, laid_out
from gateway.names import BUCKETS
from gateway.statistics.sequences import CannotSay
from gateway.statistics.standing import Standing, standing
from gateway.timestamps import rfc3339

__all__ = ["Evidence", "Terms", "guardrails", "read_out"]


def read_out(evidence: Evidence, terms: Terms) -> ContrastReadout:
    """Everything that can be said, by each metric of the terms."""
    evidence = _kept(evidence, terms)
    contrast = evidence.contrast
    exposures = _laid(evidence, EXPOSURE)
    assigned = exposures.so_far(cell.events for cell in exposures.cells)
    split = arrivals.checked(assigned, exposures.shares)
    shown = arrivals.shown(split, assigned, exposures.shares)
    background = Background(terms, exposures, split, _stale(evidence), _unwritten(evidence))
    is_split = bool(exposures.looks) or not evidence.shadow
    metrics = _metrics(evidence, background) if is_split else ()
    paired = _paired(evidence, background)
    stands = _stands(evidence, background, metrics, paired)
    keys = _told_of(evidence.written, terms) or _told_of(evidence.live, terms)
    return ContrastReadout(
        contrast=contrast.id,
        baseline=str(contrast.baseline),
        candidate=str(contrast.candidate),
        baseline_fingerprint=str(contrast.baseline_fingerprint),
        candidate_fingerprint=str(contrast.candidate_fingerprint),
        baseline_commit=str(evidence.commits[0]),
        candidate_commit=str(evidence.commits[1]),
        current=evidence.current,
        shadow=evidence.shadow,
        status=stands.word,
        reason=stands.reason,
        since=rfc3339(min(key.start for key in keys)) if keys else "",
        until=rfc3339(max(key.end for key in keys)) if keys else "",
        epochs=_epochs(exposures),
        sample_ratio=shown if is_split else None,
        metrics=metrics,
        guardrails=guardrails(evidence, terms) if is_split else (),
        paired=paired,
        multiple_units=multiple_units(exposures),
        without_unit=without_unit(contrast, exposures),
        kept=terms.kept / BUCKETS,
        adaptive=terms.adaptive,
        warnings=notes(contrast, exposures, terms),
    )


def _kept(evidence: Evidence, terms: Terms) -> Evidence:
    """Only of the units that are kept, also where others were counted before."""
    if terms.kept >= BUCKETS:
        return evidence
    written, live = (
        {key: thinned(key, cell, terms.kept) for key, cell in cells.items()}
        for cells in (evidence.written, evidence.live)
    )
    return replace(evidence, written=written, live=live)


def _laid(evidence: Evidence, metric: str, cells: Mapping[CellKey, Cell] | None = None) -> Layout:
    """Of what is written, unless other cells are given."""
    given = evidence.written if cells is None else cells
    return laid_out(evidence.contrast, evidence.shares, given, metric)


def _told_of(cells: Mapping[CellKey, Cell], terms: Terms) -> list[CellKey]:
    """A metric that was taken away may still have cells, of which nothing is said any more."""
    names = {EXPOSURE, *(metric.name for metric in terms.metrics)}
    return [key for key in cells if key.metric.removeprefix(PAIRED) in names]


def _metrics(evidence: Evidence, background: Background) -> tuple[MetricReadout, ...]:
    return tuple(
        metric_readout(metric, _laid(evidence, metric.name), background)
        for metric in background.terms.metrics
    )


def guardrails(evidence: Evidence, terms: Terms) -> tuple[GuardrailReadout, ...]:
    """That part alone, which may have to be known more often than the rest."""
    cells = _up_to_now(evidence)
    return tuple(
        guardrail_readout(
            metric, _laid(evidence, metric.name, cells if is_exact(metric) else None), terms
        )
        for metric in terms.metrics
        if metric.role == "guardrail"
    )


def _up_to_now(evidence: Evidence) -> Mapping[CellKey, Cell]:
    """What is written and what is not: a key may be in both, as more of it came late."""
    cells = dict(evidence.written)
    for key, cell in evidence.live.items():
        both = Cell()
        both.add(cell)
        if key in cells:
            both.add(cells[key])
        cells[key] = both
    return cells


def _paired(evidence: Evidence, background: Background) -> tuple[PairedReadout, ...]:
    layouts = (
        (metric, _laid(evidence, PAIRED + metric.name)) for metric in background.terms.metrics
    )
    return tuple(
        paired_readout(metric, layout, background.terms, background.stale)
        for metric, layout in layouts
        if layout.looks
    )


def _stale(evidence: Evidence) -> str | None:
    if evidence.current:
        return None
    contrast = evidence.contrast
    return f"{contrast.baseline} or {contrast.candidate} has been given other content"


def _unwritten(evidence: Evidence) -> int:
    return sum(cell.units for key, cell in evidence.live.items() if key.metric == EXPOSURE)


def _stands(
    evidence: Evidence,
    background: Background,
    metrics: Sequence[MetricReadout],
    paired: Sequence[PairedReadout],
) -> Standing:
    """As the primary metric does; of a shadow, as its pairs do."""
    primary = next((one.name for one in background.terms.metrics if one.role == "primary"), None)
    if primary is None:
        lacking = "No primary metric is configured, so nothing decides for the whole."
    else:
        lacking = f"No row that both branches predicted has an outcome of {primary} yet."
    of_pairs = [Standing(one.status, one.reason) for one in paired if one.metric == primary]
    of_units = [Standing(one.status, one.reason) for one in metrics if one.name == primary]
    for stands in of_pairs + of_units if evidence.shadow else of_units:
        return stands
    stands = standing(CannotSay(lacking), background.split, stale=background.stale)
    return Standing("insufficient", lacking) if stands.word == "insufficient" else stands


def _epochs(exposures: Layout) -> tuple[EpochReadout, ...]:
    units = exposures.totals(cell.units for cell in exposures.cells)
    since: dict[str, int] = {}
    until: dict[str, int] = {}
    for key in exposures.keys:
        since[key.epoch] = min(key.start, since.get(key.epoch, key.start))
        until[key.epoch] = max(key.end, until.get(key.epoch, key.end))
    return tuple(
        EpochReadout(
            epoch=str(epoch),
            share=float(share),
            since=rfc3339(since[epoch]),
            until=rfc3339(until[epoch]),
            baseline_units=int(baseline),
            candidate_units=int(candidate),
        )
        for epoch, share, (baseline, candidate) in zip(
            exposures.epochs, exposures.shares, units, strict=True
        )
    )
