"""The reference profile, `metrics/reference.json`: what rows were like when the model was made.

Plain data, without numpy: the front checks a profile at load, the monitor bins by it. Its `id` is
a digest of what is in it, so equal profiles are one reference wherever they come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any, Literal

import msgspec

Kind = Literal["numeric", "discrete", "categorical", "date", "skipped"]

SCHEMA_VERSION = 1
#: Columns that are made of an answer and not of its row.
PREDICTION, SCORE, LATENCY = "__prediction__", "__score__", "__latency_ms__"
DERIVED = (PREDICTION, SCORE, LATENCY)
MOST_CATEGORIES = 100
MOST_EXAMPLES = 20
MOST_TEXT = 128

#: What floats count exactly.
_MOST_ROWS = 2**53

Number = int | float


class ProfileError(ValueError):
    """A profile that is none; the message names the column, what was given and what is right."""


class ReferenceColumn(msgspec.Struct, frozen=True, omit_defaults=True):
    """One column's distribution.

    numeric: `counts` of the bins between `edges`, of which the first and the last are open and
    each includes its upper edge. date: the same in seconds since 1970. discrete: `counts` of the
    numbers `values`. categorical: `counts` of the texts `values`, and `other` of all the others
    that were seen. skipped: nothing is measured, for `reason`.
    """

    name: str
    kind: Kind
    missing: int = 0
    invalid: int = 0
    min: Number | None = None
    max: Number | None = None
    mean: float | None = None
    sd: float | None = None
    edges: tuple[Number, ...] = ()
    values: tuple[str | Number, ...] = ()
    counts: tuple[int, ...] = ()
    other: int = 0
    quantiles: dict[str, Number] = {}
    reason: str | None = None
    #: Rows, where they are others than the profile's.
    n: int | None = None
    #: Made of served rows, which may have drifted already.
    live: bool = False

    @property
    def counted(self) -> int:
        """Rows with a usable value."""
        return sum(self.counts) + self.other

    @property
    def rows(self) -> int:
        return self.counted + self.missing + self.invalid


class Profile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A whole reference profile: inputs in the model's order, then derived columns."""

    n: int
    columns: tuple[ReferenceColumn, ...]
    schema_version: int = SCHEMA_VERSION
    id: str = ""
    created: str = ""
    #: `type` is training, data or live; the rest says which file of which commit, or which rows.
    source: dict[str, Any] = {}
    examples: tuple[Any, ...] = ()

    @property
    def inputs(self) -> tuple[ReferenceColumn, ...]:
        return tuple(column for column in self.columns if column.name not in DERIVED)

    @property
    def live(self) -> bool:
        """Made of served rows alone."""
        return bool(self.source.get("type") == "live")

    def identified(self) -> Profile:
        """The same with the id of its content."""
        return msgspec.structs.replace(self, id=digest(self))


def digest(profile: Profile) -> str:
    """`sha256:…` over the number of rows and the columns, whatever else stands beside them."""
    content = msgspec.json.encode([profile.n, profile.columns])
    return f"sha256:{sha256(content).hexdigest()}"


def encode_profile(profile: Profile) -> bytes:
    """The bytes of `metrics/reference.json`; a line a column."""
    head = msgspec.structs.replace(profile.identified(), columns=(), examples=())
    fields: dict[str, Any] = msgspec.to_builtins(head)
    fields |= {"schema_version": profile.schema_version, "id": head.id}
    lines = [f'"{key}": {_text(value)}' for key, value in fields.items() if key != "columns"]
    for key, items in (("columns", profile.columns), ("examples", profile.examples)):
        listed = ",\n  ".join(_text(item) for item in items)
        lines.append(f'"{key}": [\n  {listed}\n]' if items else f'"{key}": []')
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def parse_profile(data: bytes, columns: Sequence[str] | None = None) -> Profile:
    """The profile in `data`, checked, with the id of its content.

    `columns` are the model's, if it names any. Raises ProfileError.
    """
    try:
        profile = msgspec.json.decode(data, type=Profile)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProfileError(str(error)) from error
    for mistake in _mistakes(profile, columns):
        raise ProfileError(mistake)
    return profile.identified()


def _mistakes(profile: Profile, columns: Sequence[str] | None) -> Iterator[str]:
    if profile.schema_version != SCHEMA_VERSION:
        yield f"schema_version must be {SCHEMA_VERSION}. Given: {profile.schema_version}"
    if profile.n < 1:
        yield f"n must be at least 1. Given: {profile.n}"
    seen: set[str] = set()
    for column in profile.columns:
        if column.name in seen:
            yield f"column {column.name!r} stands there twice"
        seen.add(column.name)
    if columns is not None and (given := [c.name for c in profile.inputs]) != list(columns):
        yield _other_columns(given, columns)
    for column in profile.columns:
        yield from (f"column {column.name!r}: {said}" for said in _column_mistakes(column, profile))
    if len(profile.examples) > MOST_EXAMPLES:
        yield f"examples must be at most {MOST_EXAMPLES}. Given: {len(profile.examples)}"
    if profile.id and profile.id != digest(profile):
        yield "id must be the digest of the content: leave it out, or run `gateway profile` again"


def _other_columns(given: Sequence[str], wanted: Sequence[str]) -> str:
    for place, (mine, models) in enumerate(zip(given, wanted, strict=False)):
        if mine != models:
            return f"column {place} must be {models!r}, as in the model. Given: {mine!r}"
    return f"must have the model's {len(wanted)} columns, in its order. Given: {len(given)}"


def _column_mistakes(column: ReferenceColumn, profile: Profile) -> Iterator[str]:
    if not all(map(_has_float, (*column.edges, *column.values, column.min, column.max))):
        yield "edges, values, min and max must be numbers that a float holds"
    elif column.kind != "skipped":
        yield from _count_mistakes(column, profile)


def _count_mistakes(column: ReferenceColumn, profile: Profile) -> Iterator[str]:
    if any(count < 0 for count in (*column.counts, column.other, column.missing, column.invalid)):
        yield "counts must not be negative"
    if column.kind in ("numeric", "date"):
        yield from _edge_mistakes(column)
        bins, of = len(column.edges) + 1, "len(edges) + 1"
    else:
        yield from _value_mistakes(column)
        bins, of = len(column.values), "len(values)"
    if len(column.counts) != bins:
        yield f"counts must be {of} = {bins}. Given: {len(column.counts)}"
    n = profile.n if column.n is None else column.n
    if not 0 <= column.rows <= _MOST_ROWS:
        yield f"n must be at most {_MOST_ROWS}. Given: {column.rows}"
    if column.rows != n:
        yield f"counts, other, missing and invalid must add up to n = {n}. Given: {column.rows}"
    if column.mean is not None and not math.isfinite(column.mean):
        yield f"mean must be a finite number. Given: {column.mean}"
    if column.sd is not None and not 0 <= column.sd < math.inf:
        yield f"sd must be a finite number of at least 0. Given: {column.sd}"
    if column.min is not None and column.max is not None and column.min > column.max:
        yield f"min must be at most max. Given: {column.min} and {column.max}"


def _has_float(value: Any) -> bool:
    try:
        return value is None or isinstance(value, str) or math.isfinite(value)
    except OverflowError:
        return False


def _edge_mistakes(column: ReferenceColumn) -> Iterator[str]:
    if any(float(low) >= float(high) for low, high in pairwise(column.edges)):
        yield "edges must be strictly increasing"


def _value_mistakes(column: ReferenceColumn) -> Iterator[str]:
    texts = column.kind == "categorical"
    # Numbers that are one as floats would be counted as one.
    if len({v if isinstance(v, str) else float(v) for v in column.values}) != len(column.values):
        yield "values must differ" if texts else "values must differ, as floats do"
    if any(isinstance(value, str) != texts for value in column.values):
        yield f"values must be {'texts' if texts else 'numbers'}"
