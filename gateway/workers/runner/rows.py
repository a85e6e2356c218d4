"""One request's instances, checked and put in the model's column order.

The careful way, one request at a time; `standard` has a fast one for plain numbers and comes
here for everything else, so every message about a caller's mistake is made here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import texts

_MOST_NAMES = 10
_PLAIN = (str, int, float, bool, type(None))


class InvalidRows(Exception):
    """The request's fault."""


class Rows(NamedTuple):
    """Ordered rows of one request; `textual` are the columns that are not plain numbers."""

    rows: list[list[Any]]
    ignored: int
    textual: frozenset[int]
    complete: bool


class Reader:
    """Knows a model's columns; turns one JSON text into Rows or says what would be right."""

    def __init__(
        self,
        columns: Sequence[str] | None,
        width: int | None,
        *,
        strict: bool,
        withhold: bool,
        takes_text: bool,
        textual: Mapping[int, Any],
    ) -> None:
        self.columns = columns
        self.width = width
        self._position = {name: index for index, name in enumerate(columns or ())}
        self._strict = strict
        self._withhold = withhold
        self._takes_text = takes_text
        #: Columns an encoder knows as text, and what a missing value is to it: None or NaN.
        self._textual = textual

    def read(self, payload: bytes) -> Rows:
        """Raises InvalidRows."""
        instances = decoded(payload, withhold=self._withhold)
        ignored: set[str] = set()
        if all(type(row) is dict for row in instances):
            ordered = self._from_records(instances, ignored)
        elif all(type(row) is list for row in instances):
            ordered = self._from_arrays(instances)
        elif any(type(row) in (dict, list) for row in instances):
            raise InvalidRows("instances must be all arrays or all objects, not a mixture")
        else:
            odd = texts.WITHHELD if self._withhold else f"Given: {texts.shown(instances[0])}"
            raise InvalidRows(f"an instance must be an array or an object. {odd}")
        return self._checked(ordered, len(ignored))

    def _from_records(self, instances: list[dict[str, Any]], ignored: set[str]) -> list[list[Any]]:
        columns = self.columns
        if columns is None:
            width = f" of {self.width} values" if self.width else ""
            raise InvalidRows(f"this model does not name its columns; send arrays{width}")
        known = self._position.keys()
        for number, row in enumerate(instances):
            missing = [name for name in columns if name not in row]
            if missing:
                raise InvalidRows(f"instance {number} lacks the columns {_listed(missing)}")
            if len(row) > len(columns):
                ignored.update(row.keys() - known)
        if ignored and self._strict:
            raise InvalidRows(
                f"unknown columns {_listed(sorted(ignored))}; strict_columns refuses them"
            )
        return [[row[name] for name in columns] for row in instances]

    def _from_arrays(self, instances: list[list[Any]]) -> list[list[Any]]:
        width = self.width if self.width is not None else len(instances[0])
        for number, row in enumerate(instances):
            if len(row) != width:
                raise InvalidRows(f"instance {number} must have {width} values. Given: {len(row)}")
        return instances

    def _checked(self, rows: list[list[Any]], ignored: int) -> Rows:
        textual = set(self._textual)
        complete = True
        for number, row in enumerate(rows):
            for index, value in enumerate(row):
                kind = type(value)
                if kind is float:
                    continue
                if value is None:
                    complete = False
                elif kind is str:
                    if not self._takes_text:
                        raise self._wrong(number, index, value, "a number or null")
                    textual.add(index)
                elif kind not in _PLAIN:
                    raise self._wrong(number, index, value, "a number, a text or null")
        if textual:
            return Rows(
                [[self._mixed(i, v, textual) for i, v in enumerate(row)] for row in rows],
                ignored,
                frozenset(textual),
                complete,
            )
        try:
            numbers = [[math.nan if v is None else float(v) for v in row] for row in rows]
        except OverflowError:
            raise InvalidRows("an integer is beyond the range of float64") from None
        return Rows(numbers, ignored, frozenset(), complete)

    def _mixed(self, index: int, value: Any, textual: set[int]) -> Any:
        if value is None:
            return self._textual.get(index) if index in textual else math.nan
        return value if index in textual else float(value)

    def _wrong(self, number: int, index: int, value: Any, wanted: str) -> InvalidRows:
        name = repr(self.columns[index]) if self.columns else str(index)
        given = texts.WITHHELD if self._withhold else f"Given: {texts.shown(value)}"
        return InvalidRows(f"instance {number}, column {name}: must be {wanted}. {given}")


def decoded(payload: bytes, *, withhold: bool) -> list[Any]:
    """The instances of one request: at least one. Raises InvalidRows."""
    try:
        instances = texts.decode(payload)
    except RecursionError:
        raise InvalidRows("instances are nested too deeply") from None
    except ValueError as error:
        raise InvalidRows(
            f"instances are not JSON: {texts.described(error, withhold=withhold)}"
        ) from None
    if type(instances) is not list:
        raise InvalidRows("instances must be an array")
    if not instances:
        raise InvalidRows("instances must hold at least one row")
    return instances


def normalised(
    instances: Sequence[Any], columns: Sequence[str] | None, redact: frozenset[str]
) -> list[dict[str, Any]]:
    """The rows as records without the redacted columns.

    An array of a model that names no columns is left out whole: nothing says which of its
    values are the redacted ones.
    """
    records: list[dict[str, Any]] = []
    for row in instances:
        if isinstance(row, dict):
            kept = {name: row[name] for name in columns if name in row} if columns else row
            records.append({k: v for k, v in kept.items() if k not in redact})
        elif isinstance(row, list) and columns and len(row) == len(columns):
            pairs = zip(columns, row)
            records.append({k: v for k, v in pairs if k not in redact})
        else:
            records.append({})
    return records


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(repr(name) for name in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{text} and {more} more" if more > 0 else text
