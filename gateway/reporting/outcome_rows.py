"""A CSV file of outcomes becomes the items of POST /feedback, one row at a time."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

from gateway.experiments.feedback import DEEPEST, is_deeper
from gateway.tables import TableError

#: The columns that are read; `reason` is what an import of before wrote beside them.
COLUMNS = ("request_id", "row", "metric", "value", "label", "ts")
REASON = "reason"
#: Of one field; others than ours may be long.
_FIELD_CHARACTERS = 16 * 1024**2
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One row as it stands in the file, and as an item, or else the reason why it is none."""

    fields: Sequence[str]
    item: bytes
    reason: str = ""


class OutcomeFile:
    """The file, open; iterating gives its rows once, in bounded memory."""

    def __init__(self, path: Path, metric: str | None = None) -> None:
        """`metric` is that of all rows, where no column says it."""
        self.path = path
        self._metric = metric
        self.header: list[str] = []

    def __enter__(self) -> Self:
        csv.field_size_limit(_FIELD_CHARACTERS)
        try:
            self._raw = self.path.open("rb")
        except OSError as error:
            raise TableError(f"cannot be read: {error.strerror}", where=str(self.path)) from None
        try:
            self._size = os.fstat(self._raw.fileno()).st_size
            # What is no UTF-8 spoils its own row alone.
            text = io.TextIOWrapper(self._raw, "utf-8-sig", "surrogateescape", newline="")
            self._rows = csv.reader(text)
            self.header = [name.strip() for name in next(self._guarded(), [])]
            self._check_header()
        except BaseException:
            self._raw.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._raw.close()

    @property
    def part(self) -> float | None:
        """How much of the file has been read, of 1; None of what has no size, such as a pipe."""
        return min(1.0, self._raw.tell() / self._size) if self._size else None

    @property
    def unused(self) -> list[str]:
        """The columns that say nothing of outcomes."""
        return [name for name in self.header if name not in (*COLUMNS, REASON)]

    def __iter__(self) -> Iterator[OutcomeRow]:
        for fields in self._guarded():
            if any(fields):
                yield self._row(fields)

    def _guarded(self) -> Iterator[list[str]]:
        """The rows of the file; TableError where it cannot be read on."""
        try:
            yield from self._rows
        except csv.Error as error:
            where = f"{self.path}:{self._rows.line_num}"
            raise TableError(f"is no CSV: {error}", where=where) from None
        except OSError as error:
            raise TableError(f"cannot be read: {error.strerror}", where=str(self.path)) from None

    def _check_header(self) -> None:
        where = f"{self.path}:1"
        known = [name for name in self.header if name in COLUMNS]
        twice = next((name for name in known if known.count(name) > 1), None)
        if twice is not None:
            raise TableError(f"the column {twice} stands twice", where=where)
        if "metric" in known and self._metric is not None:
            raise TableError("has a column metric, so --metric says it twice", where=where)
        missing = [] if "request_id" in known else ["request_id"]
        if "metric" not in known and self._metric is None:
            missing.append("metric (or give --metric)")
        if not {"value", "label"} & set(known):
            missing.append("value or label")
        if missing:
            given = ", ".join(self.header)[:200].encode(errors="replace").decode()
            raise TableError(
                "the first line must name the columns, separated by commas. Missing:"
                f" {', '.join(missing)}. Given: {given or 'nothing'}",
                where=where,
            )

    def _row(self, fields: list[str]) -> OutcomeRow:
        if len(fields) > len(self.header):
            reason = f"has {len(fields)} fields, and the first line {len(self.header)}"
            return OutcomeRow(fields, b"", reason)
        item: dict[str, Any] = {} if self._metric is None else {"metric": self._metric}
        try:
            for name, text in zip(self.header, fields, strict=False):
                if name in COLUMNS and text.strip():
                    item[name] = _READERS.get(name, str.strip)(text)
            return OutcomeRow(fields, msgspec.json.encode(item))
        except UnicodeEncodeError:
            return OutcomeRow(fields, b"", "is not UTF-8")
        except RecursionError:
            return OutcomeRow(fields, b"", f"label: must be nested at most {DEEPEST} levels deep")


def _value(text: str) -> object:
    """A number, true or false; any other text as it is, for the gateway to say what is wrong."""
    text = text.strip()
    word = _WORDS.get(text.lower())
    if word is not None:
        return word
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) and "_" not in text else text


def _row_number(text: str) -> object:
    """A table with gaps has its whole numbers as 2.0."""
    number = _value(text)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _label(text: str) -> object:
    """JSON where it is some, and else the text itself; True and False as Python writes them.

    RecursionError for what is nested so deeply that it would spoil its whole batch.
    """
    word = _WORDS.get(text.strip().lower())
    if word is not None:
        return word
    try:
        label = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return text
    if is_deeper(label, DEEPEST):
        raise RecursionError
    return label


_READERS = {"value": _value, "label": _label, "row": _row_number}
