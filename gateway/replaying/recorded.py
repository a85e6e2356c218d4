"""Rows of prediction segments as the requests that they were, and as what a model is asked.

Pure. Model values stay the JSON text they were, so a long number keeps its digits.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from gateway.monitoring.segments import PREDICTION_COLUMNS
from gateway.names import Branch, Commit, Fingerprint, InvalidName

#: Of one field: as much as a request may be made to hold.
_FIELD_CHARACTERS = 256 * 1024**2
_NAMED: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LISTED: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
#: Statuses of rows that a branch answered: its own, or the baseline's in place of another.
_ANSWERED = ("ok", "fallback_not_ready", "fallback_error", "fallback_timeout", "fallback_overload")


@dataclass(frozen=True, slots=True)
class RecordedRow:
    """One row's answer, as it stands in its segment; `features` is empty where they are not."""

    row: int
    prediction: str
    score: float | None
    features: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request, and the branch that answered it or should have."""

    ts: str
    request_id: str
    branch: Branch
    #: Empty where nothing was loaded that could have answered.
    commit: Commit | None
    fingerprint: Fingerprint | None
    assigned: str
    reason: str
    status: str
    #: How many answered rows each of its rows stands for.
    weight: float
    rows: tuple[RecordedRow, ...]

    @property
    def answered(self) -> bool:
        return self.status in _ANSWERED

    @property
    def whole(self) -> bool:
        """Whether of every row it is there what it was made of: nothing is what redaction leaves
        of an array without names."""
        return all(row.features not in ("", "{}") for row in self.rows)


@dataclass(slots=True)
class Segment:
    """What a segment says; `bad` are the lines of it that are no rows, by place and reason."""

    requests: list[Recorded] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)


def parse_segment(path: str, content: bytes) -> Segment:
    """Never raises: someone may have changed it, and that spoils no other."""
    found = Segment()
    csv.field_size_limit(_FIELD_CHARACTERS)
    reader = csv.DictReader(io.StringIO(content.decode(errors="replace"), newline=""))
    requests: dict[tuple[str, str], list[dict[str, str]]] = {}
    try:
        if tuple(reader.fieldnames or ()) != PREDICTION_COLUMNS:
            found.bad.append(f"{path}: its columns are not a segment's: someone changed it")
            return found
        for row in reader:
            requests.setdefault((row["request_id"], row["branch"]), []).append(row)
    except csv.Error as error:
        found.bad.append(f"{path}:{reader.line_num}: {error}")
    for rows in requests.values():
        try:
            found.requests.append(_request(rows))
        except (InvalidName, ValueError, TypeError) as error:
            found.bad.append(f"{path}: request {rows[0]['request_id']}: {error}")
    return found


def _request(rows: Sequence[Mapping[str, str]]) -> Recorded:
    first = rows[0]
    made = tuple(
        RecordedRow(
            int(row["row"]),
            row["prediction"],
            float(row["score"]) if row["score"] else None,
            row["features"],
        )
        for row in sorted(rows, key=lambda row: int(row["row"]))
    )
    if [row.row for row in made] != list(range(len(made))):
        raise ValueError("its rows are not all there")
    return Recorded(
        first["ts"],
        first["request_id"],
        Branch(first["branch"]),
        Commit(first["commit"]) if first["commit"] else None,
        Fingerprint(first["fingerprint"]) if first["fingerprint"] else None,
        first["assigned"],
        first["reason"],
        first["status"],
        float(first["weight"]),
        made,
    )


def payloads(request: Recorded, columns: Sequence[str] | None, *, own: bool) -> list[bytes]:
    """The request as a model is asked it: the likeliest form first.

    A row names its values, by the model's columns or by their places, and does not say whether it
    was sent as an object or an array. Only a branch's own `predict` can tell them apart: with
    `own`, the other forms follow.
    """
    forms = [_forms(row.features, columns) for row in request.rows]
    if not own:
        forms = [[one[0] if one[0][:1] in b"[{" else one[1]] for one in forms]
    most = max(map(len, forms))
    found = [b"[%s]" % b",".join(one[min(n, len(one) - 1)] for one in forms) for n in range(most)]
    return list(dict.fromkeys(found))


def _forms(features: str, columns: Sequence[str] | None) -> list[bytes]:
    named = _NAMED.decode(features)
    values = list(map(bytes, named.values()))
    as_array = b"[%s]" % b",".join(values)
    as_object = features.encode()
    if named and _is_by_place(named):
        bare = values if len(values) == 1 else []
        # One text is mostly all that was sent, and one number a row of a single column.
        is_text = bare and bare[0].startswith(b'"')
        return [*bare, as_array, as_object] if is_text else [as_array, *bare, as_object]
    return [as_object, as_array] if list(named) == list(columns or ()) else [as_object]


def values_of(request: Recorded) -> list[Mapping[str, msgspec.Raw]]:
    """Each row's features by name; empty where there are none."""
    return [_NAMED.decode(row.features) if row.features else {} for row in request.rows]


def lacking(request: Recorded, columns: Iterable[str] | None) -> list[str]:
    """Columns of a model that a row does not hold: redacted ones, or another model's.

    Values that have no names but their places are the model's to judge.
    """
    for row in values_of(request):
        missing = [name for name in columns or () if name not in row]
        if missing and not _is_by_place(row):
            return missing
    return []


def _is_by_place(named: Mapping[str, object]) -> bool:
    return list(named) == [str(place) for place in range(len(named))]


def rows_of(text: bytes) -> list[bytes]:
    """A JSON array's items, each as its text."""
    return [bytes(item) for item in _LISTED.decode(text)]
