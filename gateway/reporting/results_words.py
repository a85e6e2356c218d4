"""A read-out's words and figures in plain words, the same in the terminal and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.experiments.document import (
    Bounds,
    BranchAllocation,
    ContrastReadout,
    ExperimentReadout,
    Feedback,
    Ratio,
    Word,
)
from gateway.experiments.metrics import Kind
from gateway.reporting.words import measure, moment

#: What each word means, for those who see it for the first time.
MEANINGS: dict[Word, str] = {
    "insufficient": "too little arrived to say anything yet",
    "running": "not decided yet, which is not 'no effect'",
    "better": "the candidate is better, and may be said to be however often one looked",
    "worse": "the candidate is worse, and may be said to be however often one looked",
    "equivalent": "any difference is smaller than the margin that would matter",
    "invalid": "users or outcomes are lost or moved on the way: no figure here means anything yet",
    "stale": "of content that is served no more",
}
BREACHED, HELD = "breached", "no breach"
#: At the end of every page.
PROMISE = (
    "A unit is a user; p: how likely chance alone gives as much; e: how strongly outcomes speak for"
    " a difference. Intervals and p are always-valid: look as often as you like, and stop when you"
    " like. They are of what is mature, whose outcomes are all in; guardrails are of everything up"
    " to now."
)
_LARGE = 1e6
_MUCH = 10_000
_HOURS, _MANY = 24, 365


def change(part: float | None) -> str:
    """A relative difference, in at most five figures and a sign."""
    if part is None:
        return ""
    percent = part * 100
    if abs(percent) >= _MUCH:
        return f"{percent:+.2g} %".replace("e+0", "e")
    decimals = 2 if abs(percent) < 10 else 1 if abs(percent) < 100 else 0
    number = f"{percent:+.{decimals}f}"
    return (number.rstrip("0").rstrip(".") if decimals else number) + " %"


def change_interval(found: Bounds | None) -> str:
    """`-1.2 to +3.4 %`; where an end has no bound, the other alone."""
    return _ends(found, change).replace(" % to ", " to ")


def signed(figure: float | None) -> str:
    """A difference in a metric's own unit."""
    return "" if figure is None else f"{figure:+.3g}"


def signed_interval(found: Bounds | None) -> str:
    return _ends(found, signed)


def _ends(found: Bounds | None, say: Callable[[float], str]) -> str:
    if found is None or (found.low is None and found.high is None):
        return ""
    if found.high is None:
        return f"from {say(found.low or 0.0)}"
    if found.low is None:
        return f"up to {say(found.high)}"
    return f"{say(found.low)} to {say(found.high)}"


def value(figure: float | None, kind: Kind) -> str:
    """An arm's figure: a rate as a percentage, a mean as it is."""
    if figure is None:
        return ""
    return f"{figure * 100:.3g} %" if kind == "binary" else measure(figure)


def evidence(log_e: float | None) -> str:
    """An e-value, of which the logarithm is known."""
    if log_e is None:
        return ""
    if log_e >= math.log(_LARGE):
        tens, rest = divmod(round(log_e / math.log(10), 2), 1)
        return f"{10**rest:.1f}e{tens:.0f}"
    found = math.exp(log_e)
    return (
        "<.001"
        if found < 0.001
        else f"{float(f'{found:.3g}'):,.0f}"
        if found >= 100
        else f"{found:.3g}"
    )


def days(found: float | None) -> str:
    """Short enough for a column of a table; nothing of what is decided."""
    if not found:
        return ""
    if found < 1:
        return f"{max(1, math.ceil(found * _HOURS))} h"
    return f"{math.ceil(found):,} d" if found <= _MANY else "> 1 year"


def span_of(seconds: float) -> str:
    """A window's length in its largest whole unit."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def when(text: str | None) -> str:
    """A moment of the document, as people write it; another text as it stands."""
    try:
        return moment(datetime.fromisoformat(text or "").astimezone(UTC).replace(microsecond=0))
    except ValueError:
        return text or "?"


def used_in(contrast: ContrastReadout) -> set[Word]:
    """The words that a contrast's page uses."""
    guarded = {one.name for one in contrast.guardrails}
    of_metrics = {one.status for one in contrast.metrics if one.name not in guarded}
    return {contrast.status, *of_metrics, *(one.status for one in contrast.paired)}


def period(since: str, until: str) -> str:
    """Both moments, the zone once, and the day where it is the same."""
    begun, ended = when(since).removesuffix(" UTC"), when(until)
    day, _, time = ended.partition(" ")
    return f"{begun} to {time if time and begun.startswith(f'{day} ') else ended}"


def title(contrast: ContrastReadout) -> str:
    role = ", a shadow," if contrast.shadow else ""
    return f"{contrast.candidate}{role} beside {contrast.baseline}"


def verdict(contrast: ContrastReadout) -> str:
    """Why the contrast has its word: its own sentence, or what the word means."""
    return contrast.reason or f"{MEANINGS[contrast.status]}."


def split(found: Ratio | None, contrast: ContrastReadout) -> str:
    """The check of the sample ratio."""
    if found is None or not found.baseline + found.candidate:
        return "not checked yet"
    seen = f"{found.baseline:,} units on {contrast.baseline}, {found.candidate:,} on"
    seen += f" {contrast.candidate}"
    if found.expected is not None:
        seen += f", where {found.expected * 100:.3g} % are expected"
    if found.log_e is not None:
        seen += f" (e {evidence(found.log_e)} of {evidence(found.threshold)})"
    if found.mismatch:
        return f"MISMATCH: {seen}: look for what loses or moves units before any result"
    return f"as the weights say: {seen}"


def arrivals(found: Ratio) -> str:
    """Of a metric whose outcomes come from one arm more than from the other."""
    return (
        f"outcomes do not arrive alike from both arms: {found.baseline:,} and"
        f" {found.candidate:,} (e {evidence(found.log_e)} of {evidence(found.threshold)});"
        " those that are missing may not be like those that came"
    )


def feedback(found: Feedback) -> str:
    """What became of outcomes; empty where none came, or none are known of."""
    if found == Feedback():
        return ""
    parts = [f"{found.accepted:,} joined", f"{found.late:,} late", f"{found.duplicate:,} duplicate"]
    parts += [f"{found.unknown:,} of unknown requests", f"{found.waiting:,} waiting"]
    return ", ".join(parts)


def allocation(found: BranchAllocation) -> str:
    """What the gateway itself made of a branch's weight."""
    said = "" if found.share is None else f"{found.share * 100:.3g} % of the users"
    share = f" at {said}" if said and said not in found.reason else ""
    return f"{found.state}{share} since {when(found.since)}: {found.reason}"


def ejected(found: BranchAllocation, contrast: ContrastReadout) -> str:
    """Of a branch that guardrails took out, which say why in the table."""
    breached = [one.name for one in contrast.guardrails if one.breached]
    if not breached:
        return allocation(found)
    many = "guardrails are" if len(breached) > 1 else "guardrail is"
    return (
        f"ejected since {when(found.since)}, so it has no users: the {many} breached"
        f" ({', '.join(breached)})"
    )


def apart(document: ExperimentReadout) -> list[tuple[str, BranchAllocation]]:
    """Allocations of branches of whose present content nothing is known."""
    current = {one.candidate for one in document.contrasts if one.current}
    return [one for one in sorted(document.allocation.items()) if one[0] not in current]


def without_unit(contrast: ContrastReadout) -> str:
    """Requests without a user, which say nothing of users; empty if there are none."""
    said = []
    for arm, counts in sorted(contrast.without_unit.items()):
        total = counts.get("requests", 0)
        events = [f"{count:,} {name}" for name, count in sorted(counts.items()) if count]
        events = [text for text in events if not text.endswith(" requests")]
        if total or events:
            more = f" ({', '.join(events)})" if events else ""
            said.append(f"{total:,} on {arm}{more}")
    return f"{', '.join(said)}: in none of the figures" if said else ""
