"""Is an answer the same as the one that was recorded, and how far are they apart? Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.replaying.document import Answered, ReplayedRow, Word
from gateway.replaying.recorded import Recorded, RecordedRow
from gateway.scores import Classes, score_of

#: What differs less, as it is or as a share of the number, is the same: batches of other sizes
#: are added up in another order.
TOLERANCE = 1e-9


def row_of(request: Recorded, row: RecordedRow, word: Word, why: str, **more: Any) -> ReplayedRow:
    """What is said of one row."""
    return ReplayedRow(
        request.request_id,
        row.row,
        request.ts,
        request.branch,
        request.commit or "",
        request.fingerprint or "",
        request.assigned,
        request.reason,
        request.status,
        word,
        why,
        recorded=recorded_answer(row) if request.answered else None,
        **more,
    )


def recorded_answer(row: RecordedRow) -> Answered:
    """What a row says was answered: null stands there as the empty text."""
    prediction = msgspec.json.decode(row.prediction) if row.prediction else None
    return Answered(prediction, row.score)


def compared(
    request: Recorded,
    predictions: list[bytes],
    probabilities: list[bytes] | None,
    classes: Classes,
    tolerance: float,
) -> list[ReplayedRow]:
    """Each row of a request beside what is answered to it now."""
    found = []
    for row in request.rows:
        prediction = predictions[row.row]
        shares = probabilities[row.row] if probabilities else None
        computed = Answered(msgspec.json.decode(prediction), score_of(prediction, shares, classes))
        if not request.answered:
            why = f"it was not answered then: {request.status}"
            found.append(row_of(request, row, "different", why, computed=computed))
            continue
        before = recorded_answer(row)
        same = agrees(before.prediction, computed.prediction, tolerance)
        same = same and agrees(before.score, computed.score, tolerance)
        found.append(
            row_of(
                request,
                row,
                "same" if same else "different",
                "",
                exact=before == computed,
                computed=computed,
                difference=Answered(
                    _less(computed.prediction, before.prediction),
                    _less(computed.score, before.score),
                ),
            )
        )
    return found


def agrees(one: Any, other: Any, tolerance: float) -> bool:
    """Numbers within the tolerance, lists and objects item by item, everything else exactly."""
    if is_number(one) and is_number(other):
        apart = abs(one - other)
        return bool(one == other or apart <= tolerance * max(1.0, abs(one), abs(other)))
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(agrees(a, b, tolerance) for a, b in pairs)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            agrees(value, other[name], tolerance) for name, value in one.items()
        )
    return type(one) is type(other) and bool(one == other)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _less(one: Any, other: Any) -> float | None:
    return float(one - other) if is_number(one) and is_number(other) else None


def has_changed(row: ReplayedRow, tolerance: float) -> bool:
    """Whether its prediction is another, whatever became of its score."""
    if row.recorded is None or row.computed is None:
        return False
    return not agrees(row.recorded.prediction, row.computed.prediction, tolerance)
