"""A contrast's figures as rows of text: what the tables in the terminal and in Markdown hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.experiments.document import (
    ContrastReadout,
    GuardrailReadout,
    MetricReadout,
    PairedReadout,
)
from gateway.experiments.metrics import BUILT_IN, Kind
from gateway.reporting import results_words as words
from gateway.reporting.words import chance


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, each figure as it is shown; empty where there is none to show."""

    word: str
    name: str
    baseline: str = ""
    candidate: str = ""
    change: str = ""
    interval: str = ""
    p: str = ""
    e: str = ""
    events: str = ""
    units: str = ""
    expected: str = ""
    #: What must be known to read it.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are to be read in one way, which `title` says, and `tag` in a word or two."""

    title: str
    tag: str
    rows: tuple[Row, ...]


_SECONDARY = "exploratory, outside of what the primary metric promises"
_GUARDRAILS = "guardrails: evidence (e) of harm, and how much ejects the branch"


def groups(contrast: ContrastReadout) -> list[Group]:
    """The tables, without those that have no row."""
    by_role: dict[str, list[Row]] = {}
    for metric in contrast.metrics:
        said = metric.role == "primary" and metric.reason == contrast.reason
        by_role.setdefault(metric.role, []).append(_of_metric(metric, said=said))
    guarded = {one.name for one in contrast.guardrails}
    estimates = {one.name: one for one in contrast.metrics}
    guards = [_of_guardrail(one, estimates.get(one.name)) for one in contrast.guardrails]
    guards += [row for row in by_role.get("guardrail", ()) if row.name not in guarded]
    found = [
        Group("", "", tuple(by_role.get("primary", ()))),
        Group(_SECONDARY, "exploratory", tuple(by_role.get("secondary", ()))),
        Group(
            _paired(contrast),
            "difference",
            tuple(_of_pair(one, contrast) for one in contrast.paired),
        ),
        Group(_GUARDRAILS, "guardrail", tuple(guards)),
    ]
    return [one for one in found if one.rows]


def _of_metric(metric: MetricReadout, *, said: bool) -> Row:
    """`said`: its reason stands elsewhere already."""
    before, after = metric.baseline, metric.candidate
    relative = metric.relative
    return Row(
        metric.status,
        metric.name,
        words.value(before.value, metric.kind),
        words.value(after.value, metric.kind),
        words.change(relative.estimate if relative else None),
        words.change_interval(relative),
        chance(metric.p),
        words.evidence(metric.log_e),
        f"{before.events:,} | {after.events:,}" if metric.kind == "binary" else "",
        f"{before.units:,} | {after.units:,}",
        words.days(metric.expected_days),
        tuple(_notes(metric, said=said)),
    )


def _notes(metric: MetricReadout, *, said: bool) -> Iterator[str]:
    if metric.reason and not said and metric.status != "running":
        yield metric.reason
    if _lacks_relative(metric) and metric.difference is not None:
        yield (
            f"difference {words.signed(metric.difference.estimate)}"
            f" ({words.signed_interval(metric.difference)})"
        )
    if metric.arrivals is not None and metric.arrivals.mismatch:
        yield words.arrivals(metric.arrivals)
    left_out = [f"{metric.late:,} late"] * bool(metric.late)
    left_out += [f"{metric.duplicate:,} duplicate"] * bool(metric.duplicate)
    if left_out:
        yield f"left out: {' and '.join(left_out)} outcomes"
    # The group's title says that already, once for all its metrics.
    yield from (one for one in metric.warnings if not one.startswith("Exploratory:"))


def _lacks_relative(metric: MetricReadout) -> bool:
    return metric.relative is None or metric.relative.estimate is None


def _of_guardrail(guardrail: GuardrailReadout, estimate: MetricReadout | None) -> Row:
    before, after = guardrail.baseline, guardrail.candidate
    kind: Kind = "binary" if guardrail.name in BUILT_IN else estimate.kind if estimate else "mean"
    relative = estimate.relative if estimate else None
    evidence = f"e {words.evidence(guardrail.log_e)} of {words.evidence(guardrail.threshold)}"
    is_silent = kind == "binary" and not before.events + after.events
    nothing = "no event yet" if is_silent and before.units + after.units else "nothing known"
    margin = f"more than {guardrail.margin * 100:.3g} % more harm is a breach"
    return Row(
        words.BREACHED if guardrail.breached else words.HELD,
        guardrail.name,
        words.value(before.value, kind),
        words.value(after.value, kind),
        words.change(relative.estimate if relative else None),
        evidence if guardrail.log_e is not None else words.change_interval(relative) or nothing,
        events=f"{before.events:,} | {after.events:,}" if kind == "binary" else "",
        units=f"{before.units:,} | {after.units:,}",
        notes=(guardrail.reason or margin,) if guardrail.breached else (),
    )


def _paired(contrast: ContrastReadout) -> str:
    arms = f"{contrast.candidate} less {contrast.baseline}"
    return f"{arms}, the difference itself, on labelled rows that both predicted"


def _of_pair(pair: PairedReadout, contrast: ContrastReadout) -> Row:
    notes = [f"{pair.rows:,} rows, of which {pair.differing:,} differ"]
    if pair.reason and pair.reason != contrast.reason and pair.status != "running":
        notes.append(pair.reason)
    return Row(
        pair.status,
        pair.metric,
        change=words.signed(pair.difference.estimate if pair.difference else None),
        interval=words.signed_interval(pair.difference),
        p=chance(pair.p),
        notes=tuple(notes),
    )


def facts(contrast: ContrastReadout, written: str) -> list[tuple[str, str]]:
    """What is to be known of the whole contrast, by name; `written` is when it was."""
    # The end of a time span, which may not be over.
    until = min(contrast.until, written)
    found = [
        ("contents", f"{_content(contrast, 'candidate')}, {_content(contrast, 'baseline')}"),
        ("exposed", words.period(contrast.since, until)),
    ]
    primary = next((one for one in contrast.metrics if one.role == "primary"), None)
    if primary is not None:
        found.append(("decides", _deciding(primary)))
        found.append(("mature", _mature(primary)))
        if primary.expected:
            found.append(("expected", primary.expected))
    if not contrast.shadow:
        found.append(("split", words.split(contrast.sample_ratio, contrast)))
    if contrast.multiple_units and not any("in both arms" in one for one in contrast.warnings):
        more = f"{contrast.multiple_units:,} units were seen on both branches, as weights moved"
        found.append(("moved", more))
    if text := words.without_unit(contrast):
        found.append(("no user", text))
    return found


def _content(contrast: ContrastReadout, arm: str) -> str:
    return f"{getattr(contrast, arm)} {content(contrast, arm)}"


def content(contrast: ContrastReadout, arm: str) -> str:
    """What an arm serves: its commit, or the content itself while nobody knows its commit."""
    fingerprint = getattr(contrast, f"{arm}_fingerprint")
    return getattr(contrast, f"{arm}_commit")[:10] or f"content {fingerprint[:10]}"


def _deciding(metric: MetricReadout) -> str:
    """How the primary metric is decided."""
    good = "more" if metric.direction == "up" else "less"
    said = f"{metric.name} ({metric.kind}, {good} is better"
    said += f", outcomes count for {words.span_of(metric.window)})" if metric.window else ")"
    how = "exact rate ratio" if metric.method == "exact" else "confidence sequence of means"
    said += f", by the {how}, alpha {metric.alpha:.3g}"
    if metric.margin is not None:
        said += f", margin {metric.margin * 100:.3g} %"
    if metric.method == "asymptotic":
        said += f", planned for {metric.planned_units:,} units"
    return said


def _mature(metric: MetricReadout) -> str:
    if metric.as_of is None:
        text = "nothing yet: outcomes are waited for until their window is over"
        return text + (f"; {metric.pending_units:,} units so far" if metric.pending_units else "")
    looks = f"{metric.looks:,} look{'s' * (metric.looks != 1)}"
    text = f"what was exposed until {words.when(metric.as_of)}, {looks}"
    return text + (f"; {metric.pending_units:,} units came after" if metric.pending_units else "")


def epochs(contrast: ContrastReadout) -> list[tuple[str, str, str, str]]:
    """When, the candidate's share, and units on the baseline and on the candidate; newest last."""
    return [
        (
            words.period(one.since, one.until),
            f"{one.share * 100:.3g} %",
            f"{one.baseline_units:,}",
            f"{one.candidate_units:,}",
        )
        for one in contrast.epochs
    ]
