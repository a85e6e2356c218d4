"""Verdicts and figures in plain words, the same in the terminal and on the page."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.reporting.document import Between, Column, Drift, Open, Reference, Span
from gateway.statistics.reference import LATENCY, PREDICTION, SCORE

VERDICTS = {
    "ok": "no column moved further than its tolerance",
    "warn": "something moved a little, or for the first time: worth a look",
    "alert": "drift beyond the tolerance, in two windows in a row",
    "critical": "drift far beyond the tolerance: do not wait for another window",
    "insufficient": "too few rows for a verdict",
}
DERIVED = {PREDICTION: "prediction", SCORE: "score", LATENCY: "latency in ms"}
_REASONS = {
    "distribution": "distribution moved",
    "missing": "more values missing",
    "range": "values outside the reference's range",
    "new_category": "new values",
    "invalid": "values of another type",
    "split": "inputs differ",
    "model": "answers differ",
}
_SOURCES = {
    "training": "training data",
    "data": "the branch's data",
    "live": "the first served rows",
}


def column_name(column: Column) -> str:
    """Answers have no column: they are called what they are."""
    return DERIVED.get(column.column, column.column)


def reasons(column: Column) -> str:
    """Why a column got its verdict; empty where there is nothing to say."""
    if column.skipped:
        return f"not measured: {column.reason or 'skipped'}"
    if column.severity == "insufficient" and not column.reason:
        return "too few rows"
    said = [_REASONS.get(one, one) for one in column.reason.split(";") if one]
    text = ", ".join(said)
    return (
        f"{text}: {named_new(column)}" if column.new and "new_category" in column.reason else text
    )


def named_new(column: Column, most: int = 3) -> str:
    """The most frequent values that the reference does not know."""
    found = sorted(column.new.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{text} ({count:,})" for text, count in found[:most]]
    return ", ".join([*named, *(["…"] if len(found) > most else [])])


def verdict(drift: Drift) -> str:
    """The whole of it in one sentence, without the severity's own word."""
    if drift.state == "measured" and drift.severity:
        text = VERDICTS[drift.severity]
        if drift.severity == "insufficient" and drift.rules:
            text += f", which needs at least {drift.rules.least_rows:,}"
        return text
    return {
        "waiting": "nothing that this branch serves now was recorded yet",
        "collecting": "there is no reference: the first served rows are becoming one",
        "counting": "the first window is open: nothing can be said before it closes",
        "measured": "no verdict",
    }[drift.state]


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def notes(drift: Drift) -> list[str]:
    """What else must be known to read the verdict."""
    said = []
    if drift.drifted:
        said.append(
            "The model's whole world moved: its answers, or at least a tenth of its columns."
        )
    if drift.reference and drift.reference.live:
        said.append(
            "The reference is made of served rows, which may have drifted already, so nothing is"
            " more than a warning."
        )
    if drift.trouble:
        said.append(drift.trouble)
    return said


def reference(found: Reference) -> str:
    kind = str(found.source.get("type", "unknown"))
    words = [f"{found.n:,} rows of {_SOURCES.get(kind, kind)}"]
    if path := found.source.get("path"):
        words.append(str(path))
    if commit := found.source.get("commit"):
        words.append(f"at {str(commit)[:10]}")
    return ", ".join(words)


def waited_for(drift: Drift) -> str | None:
    if drift.collected:
        return f"{drift.collected.rows:,} of {drift.collected.of:,} rows for a reference"
    if drift.open:
        return window_open(drift.open)
    return None


def window_open(found: Open) -> str:
    rows = f"{found.rows:,} row{'s' * (found.rows != 1)}"
    start, end = _ends(found.start, found.ends)
    return f"{rows} since {start}; may close at {end}"


def span(found: Span) -> str:
    closed = ", closed with fewer rows than wanted" if found.partial else ""
    return f"{' to '.join(_ends(found.start, found.end))}{closed}"


def _ends(start: datetime, end: datetime) -> tuple[str, str]:
    """Both moments, the day and the zone only where they are needed."""
    same_day = start.astimezone(UTC).date() == end.astimezone(UTC).date()
    return moment(start, zone=False), moment(end)[11:] if same_day else moment(end)


def seen(found: Span) -> str:
    words = [f"{found.rows:,} rows"]
    if found.units is not None:
        words.append(f"{found.units:,.0f} users")
    if found.writers > 1:
        words.append(f"{found.writers} gateways")
    return ", ".join(words)


def moment(at: datetime, *, zone: bool = True) -> str:
    """Seconds only where there are some."""
    form = "%Y-%m-%d %H:%M:%S" if at.second else "%Y-%m-%d %H:%M"
    return at.astimezone(UTC).strftime(form) + (" UTC" if zone else "")


def number(value: float | None, digits: int = 3) -> str:
    """Short enough for a column of a table."""
    if value is None:
        return ""
    if value and abs(value) < 10**-digits:
        return f"<.{'0' * (digits - 1)}1"
    return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:,.{max(0, digits - 2)}f}"


def measure(value: float) -> str:
    """A figure in a column's own unit."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:,.4g}"


def chance(value: float | None) -> str:
    """A probability, of which only the size matters when it is small."""
    if value is None:
        return ""
    if value >= 0.001:
        return f"{value:.3f}"
    return "0" if value == 0 else f"{value:.0e}".replace("e-0", "e-")


def share(value: float | None) -> str:
    if value is None:
        return ""
    percent = 100 * value
    if percent == 0 or percent >= 10:
        return f"{percent:.0f}%"
    return f"{percent:.1f}%" if percent >= 0.1 else "<.1%"


def shift(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:+.2f}" if abs(value) < 10 else f"{value:+.0f}" if abs(value) < 1e4 else "far"


def between(found: Between) -> list[str]:
    """What a comparison with another branch says, in sentences."""
    split, models = found.of("split"), found.of("model")
    said = []
    if split:
        said.append(
            f"The split is broken: users of this branch and of {found.other} are random halves of"
            " one population, and yet their inputs differ."
        )
    if models and split:
        said.append("Answers differ too; whether the models do cannot be told from other inputs.")
    elif models:
        said.append(f"The models differ: {found.other} gives other answers on the same inputs.")
    if not said and found.severity in (None, "insufficient"):
        said.append(f"Too few rows to compare with {found.other}.")
    elif not said:
        said.append(f"Inputs are those of {found.other}: the split works. Answers agree as well.")
    return said
