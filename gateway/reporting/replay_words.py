"""What replaying found, in words and figures: the same in the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.replaying.document import (
    Answered,
    Comparison,
    Computer,
    Counted,
    Moves,
    Part,
    Replay,
    ReplayedRow,
    Segmented,
)

_SHORT = 10
_MOST_VALUE = 60
MEANINGS = (
    "changed: another prediction. Numbers that differ by less than {tolerance}, as they are or as a"
    " share of themselves, are the same."
)
WEIGHTED = "Shares count each row as the answered rows that it stands for, of which it is a sample."


def headline(found: Comparison) -> str:
    if found.candidate is None:
        return "What was answered, computed again"
    content = found.computers[0].commit[:_SHORT] if found.computers else ""
    return f"{found.candidate} {content} beside what was answered"


def verdict(found: Comparison) -> tuple[str, str]:
    """A word, and the sentence after it."""
    rows = _rows(found.compared)
    if not found.compared and found.failed:
        return "FAILED", f"none of {_rows(found.failed)} has an answer"
    if not found.compared:
        return "UNKNOWN", "no row could be compared"
    if found.candidate is None:
        if found.compared == found.same and not found.failed:
            exact = "to the last bit" if found.exact == found.same else _within(found)
            return "SAME", f"all {rows} give the same answers, {exact}"
        apart = found.compared - found.same + found.failed
        return (
            "DIFFERENT",
            f"{_rows(apart)} of {found.compared + found.failed:,} are answered otherwise",
        )
    if not found.changed and not found.failed:
        scores = "scores moved" if found.moved else "scores are the same"
        return "SAME", f"no prediction of {rows} changed, {scores}"
    share = percent(found.changed_share or 0.0)
    failed = f", and {_rows(found.failed)} have no answer" if found.failed else ""
    return "CHANGED", f"{share} of predictions, {found.changed:,} of {rows}{failed}"


def _within(found: Comparison) -> str:
    return f"within {found.tolerance:g} ({found.exact:,} of them to the last bit)"


def facts(found: Comparison) -> list[tuple[str, str]]:
    """What is to be known of it, by name."""
    answered = ", ".join(f"{name} {count:,}" for name, count in found.answered_by.items())
    requests = f"{found.requests:,} request{'s' * (found.requests != 1)}"
    said = [
        ("rows", f"{_rows(found.rows)} of {requests}, {found.since} to {found.until}"),
        ("answered by", answered),
    ]
    if found.score is not None:
        said.append(("score", moves(found.score)))
    if found.prediction is not None:
        said.append(("prediction", moves(found.prediction)))
    if found.failed:
        said.append(("failed", _reasons(found.failed, found.failures)))
    if found.unknown:
        said.append(("left out", _reasons(found.unknown, found.left_out)))
    computers = found.computers
    # Of many contents the environment is what may differ; their names stand beside their rows.
    shown = computers if len(computers) <= 3 else computers[:1]
    said += [("computed by", computer(one)) for one in shown]
    if len(shown) < len(computers):
        said.append(("", f"and {len(computers) - len(shown)} other contents of the repository"))
    return said


def moves(found: Moves) -> str:
    return (
        f"mean change {found.mean:+.4g}; half of them moved by at most {found.half:.4g}, nine in"
        f" ten by {found.nine_in_ten:.4g}, the farthest by {found.most:.4g}"
    )


def _reasons(rows: int, reasons: Sequence[Counted]) -> str:
    said = "; ".join(f"{one.reason} ({_rows(one.rows)})" for one in reasons)
    return f"{_rows(rows)}: {said}"


def computer(found: Computer) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    form = f", as {found.form}" if found.form else ""
    place = f"{found.branch} {found.commit[:_SHORT]}"
    return f"{place}, content {found.fingerprint[:_SHORT]}, from {found.found}; {versions}{form}"


def turns(found: Comparison) -> list[tuple[str, str, str]]:
    return [(value(one.recorded), value(one.computed), f"{one.rows:,}") for one in found.turns]


LARGEST = ("request", "row", "answered by", "answered", "computed", "change")


def largest(found: Comparison) -> list[tuple[str, ...]]:
    """Figures below `LARGEST`."""
    return [
        (
            row.request_id,
            str(row.row),
            f"{row.branch} {row.commit[:_SHORT]}",
            answer(row.recorded),
            answer(row.computed),
            change(row),
        )
        for row in found.largest
    ]


def parts_title(found: Segmented) -> str:
    if found.asked:
        return f"by {found.column}"
    return f"by {found.column}, which goes with {percent(found.explains)} of what changed"


def parts(found: Segmented, of: Comparison) -> list[tuple[str, ...]]:
    """A table, its head first."""
    number = "score" if of.score else "prediction" if of.prediction else ""
    moved = [f"mean change of {number}"] * bool(number)
    head = ("", "rows", "changed", "share", *moved)
    return [head, *(_part(one)[: len(head)] for one in found.parts)]


def _part(part: Part) -> tuple[str, ...]:
    moved = "" if part.moved is None else f"{part.moved:+.4g}"
    return part.value, f"{part.rows:,}", f"{part.changed:,}", percent(part.changed_share), moved


def change(row: ReplayedRow) -> str:
    """How far its number moved: the score's, if it has one."""
    if row.difference is None:
        return ""
    moved = row.difference.score
    if moved is None:
        moved = row.difference.prediction
    return "" if moved is None else f"{moved:+.4g}"


def answer(found: Answered | None) -> str:
    if found is None:
        return ""
    score = "" if found.score is None else f" (score {found.score:.6g})"
    return f"{value(found.prediction)}{score}"


def value(prediction: Any) -> str:
    """As JSON, and not all of a long one."""
    text = msgspec.json.encode(prediction).decode()
    return text if len(text) <= _MOST_VALUE else f"{text[: _MOST_VALUE - 1]}…"


def percent(share: float) -> str:
    """A share that is not nothing is never shown as nothing."""
    per = 100 * share
    if 0 < per < 0.1:
        return "<0.1 %"
    return f"{per:.3g} %" if per < 99.95 or per == 100 else "99.9 %"


def row_of(row: ReplayedRow) -> tuple[str, str]:
    """A replayed row's name, and what is said after its word."""
    role = {"shadow": " (shadow)"}.get(row.reason, "")
    fallback = f", in place of {row.assigned}" if row.status.startswith("fallback") else ""
    name = f"row {row.row}, {row.branch} {row.commit[:_SHORT]}{role}{fallback}"
    if row.why and (row.recorded is None or row.computed is None):
        return name, row.why
    if row.word == "same":
        less = "" if row.exact else f", but for {_apart(row)}"
        return name, f"{answer(row.recorded)}{less}"
    moved = change(row)
    by = f", {moved}" if moved else ""
    why = f"; {row.why}" if row.why else ""
    return name, f"answered {answer(row.recorded)}, computed {answer(row.computed)}{by}{why}"


def _apart(row: ReplayedRow) -> str:
    found = row.difference or Answered()
    sizes = [abs(one) for one in (found.prediction, found.score) if one]
    return f"{max(sizes):.2g}" if sizes else "the last bits"


def title(found: Replay) -> str:
    return f"request {found.request_id}"


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"
