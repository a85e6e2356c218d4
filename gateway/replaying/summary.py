"""Many replayed rows, summed up: how many changed, how far numbers moved, and where. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.replaying.comparing import has_changed, is_number
from gateway.replaying.document import (
    Comparison,
    Computer,
    Counted,
    Moves,
    ReplayedRow,
    Segmented,
    Turn,
)
from gateway.replaying.parts import Entry, segments
from gateway.replaying.recorded import Recorded, values_of

#: The column that no row has: who answered it.
ANSWERED_BY = "answered by"
_MOST_TURNS = 10
_MOST_REASONS = 5
#: Numbers with more values than this are no labels.
_MOST_LABELS = 20


def summed(
    requests: Sequence[Recorded],
    rows: Sequence[ReplayedRow],
    computers: Sequence[Computer],
    *,
    candidate: str | None,
    written: str,
    tolerance: float,
    by: Sequence[str] = (),
    largest: int = 10,
    warnings: Sequence[str] = (),
) -> Comparison:
    """`rows` are those of the requests, in their order."""
    judged = _judged(requests, rows)
    changes = [has_changed(row, tolerance) for row, _, _ in judged]
    scores = [(_moved(row, "score"), weight) for row, weight, _ in judged]
    labels = _are_labels([row for row, _, _ in judged])
    numbers = [(None if labels else _moved(row, "prediction"), weight) for row, weight, _ in judged]
    by_score = any(moved is not None for moved, _ in scores)
    entries = [
        Entry(named, changed, score if by_score else number, weight)
        for (_, weight, named), changed, (score, _), (number, _) in zip(
            judged, changes, scores, numbers, strict=True
        )
    ]
    total = sum(entry.weight for entry in entries)
    changed = sum(entry.weight for entry in entries if entry.changed)
    different = [row for row, _, _ in judged if row.word == "different"]
    return Comparison(
        written,
        tolerance,
        candidate,
        rows=len(rows),
        requests=len(requests),
        since=requests[0].ts,
        until=requests[-1].ts,
        answered_by=dict(Counter(str(row.branch) for row in rows).most_common()),
        compared=len(judged),
        same=len(judged) - len(different),
        exact=sum(row.exact for row, _, _ in judged),
        changed=sum(changes),
        moved=len(different) - sum(changes),
        failed=sum(row.word == "failed" for row in rows),
        unknown=sum(row.word == "unknown" for row in rows),
        changed_share=changed / total if total else None,
        weighted=len({request.weight for request in requests}) > 1,
        prediction=_moves(numbers),
        score=_moves(scores),
        turns=_turns(
            row for (row, _, _), yes in zip(judged, changes, strict=True) if yes and labels
        ),
        largest=_largest(different, largest),
        segments=(*_by_branch(judged, entries), *segments(entries, by)),
        failures=_counted(row.why for row in rows if row.word == "failed"),
        left_out=_counted(row.why for row in rows if row.word == "unknown"),
        computers=tuple(computers),
        warnings=tuple(warnings),
    )


def _judged(
    requests: Sequence[Recorded], rows: Sequence[ReplayedRow]
) -> list[tuple[ReplayedRow, float, Mapping[str, msgspec.Raw]]]:
    """The rows with an answer then and now, each with its weight and its features."""
    weights = [request.weight for request in requests for _ in request.rows]
    values = [named for request in requests for named in values_of(request)]
    return [
        (row, weight, named)
        for row, weight, named in zip(rows, weights, values, strict=True)
        if row.computed is not None and row.recorded is not None
    ]


def _by_branch(
    judged: Sequence[tuple[ReplayedRow, float, Any]], entries: Sequence[Entry]
) -> tuple[Segmented, ...]:
    """Where several branches answered: what changed of whose answers."""
    named = [
        entry._replace(values={ANSWERED_BY: msgspec.Raw(msgspec.json.encode(str(row.branch)))})
        for (row, _, _), entry in zip(judged, entries, strict=True)
    ]
    several = len({row.branch for row, _, _ in judged}) > 1
    return segments(named, [ANSWERED_BY]) if several else ()


def _moved(row: ReplayedRow, what: str) -> float | None:
    found: float | None = getattr(row.difference, what, None)
    return found


def _moves(numbers: Iterable[tuple[float | None, float]]) -> Moves | None:
    known = [(moved, weight) for moved, weight in numbers if moved is not None]
    total = sum(weight for _, weight in known)
    if not total:
        return None
    sizes = sorted((abs(moved), weight) for moved, weight in known)
    return Moves(
        len(known),
        sum(moved * weight for moved, weight in known) / total,
        sum(size * weight for size, weight in sizes) / total,
        _quantile(sizes, 0.5 * total),
        _quantile(sizes, 0.9 * total),
        sizes[-1][0],
    )


def _quantile(sizes: Sequence[tuple[float, float]], weight: float) -> float:
    """The smallest size up to which so much weight lies."""
    seen = 0.0
    for size, one in sizes:
        seen += one
        if seen >= weight:
            return size
    return sizes[-1][0]


def _are_labels(judged: Sequence[ReplayedRow]) -> bool:
    """Whether predictions are names of something, also where the names are numbers."""
    both = [_of(answer) for row in judged for answer in (row.recorded, row.computed)]
    if not all(is_number(one) for one in both):
        return True
    return len(set(both)) <= min(_MOST_LABELS, len(judged) // 2)


def _turns(changed: Iterable[ReplayedRow]) -> tuple[Turn, ...]:
    pairs: Counter[tuple[bytes, bytes]] = Counter()
    for row in changed:
        before, after = _of(row.recorded), _of(row.computed)
        pairs[msgspec.json.encode(before), msgspec.json.encode(after)] += 1
    return tuple(
        Turn(msgspec.json.decode(before), msgspec.json.decode(after), count)
        for (before, after), count in pairs.most_common(_MOST_TURNS)
    )


def _of(answer: Any) -> Any:
    return answer.prediction if answer is not None else None


def _largest(different: Sequence[ReplayedRow], most: int) -> tuple[ReplayedRow, ...]:
    def size(row: ReplayedRow) -> float:
        score, number = _moved(row, "score"), _moved(row, "prediction")
        # A label that turned without a score is as far as a score can go.
        return abs(score) if score is not None else abs(number) if number is not None else 1.0

    return tuple(sorted(different, key=size, reverse=True)[:most])


def _counted(reasons: Iterable[str]) -> tuple[Counted, ...]:
    return tuple(Counted(*one) for one in Counter(reasons).most_common(_MOST_REASONS))
