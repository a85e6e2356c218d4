"""The door to files of rows, CSV and Parquet, as batches of columns of JSON-like values.

Streams: memory is bounded by a batch, whatever the file's length. Owns what counts as missing or
as a number in a CSV, which knows texts only.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from gateway.errors import GatewayError

#: Fields of a CSV that hold no value.
MISSING = frozenset({"", "NA", "NaN", "nan", "null", "None", "N/A"})

_BOOLEANS = {"True": True, "TRUE": True, "true": True}
_BOOLEANS |= {"False": False, "FALSE": False, "false": False}
#: Values of a batch, whatever the number of columns.
_BATCH_VALUES = 250_000
_MOST_BATCH = 8_192
_PARQUET = b"PAR1"
_JSON = {type(None), bool, int, float, str, list, dict}

Columns = dict[str, list[Any]]
#: Told how much of a reading is done, from 0 to 1.
Progress = Callable[[float], None]


class TableError(GatewayError):
    """Fix the file, or name another: it cannot be read as rows of columns."""


class Table(Protocol):
    """A file of rows that can be read as often as one likes."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its columns."""

    @property
    def textual(self) -> frozenset[str]:
        """The columns that do not hold numbers or booleans alone."""

    def batches(self, names: Sequence[str], progress: Progress) -> Iterator[Columns]:
        """The rows, some at a time: a value of each, by column."""


def open_table(path: Path, progress: Progress = lambda _share: None) -> Table:
    """A CSV, read through once to tell numbers from texts, or a Parquet file. TableError."""
    with _naming(path), path.open("rb") as file:
        parquet = file.read(len(_PARQUET)) == _PARQUET
    return _Parquet(path) if parquet else _Csv(path, progress)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TableError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _batch_rows(columns: int) -> int:
    return max(1, min(_MOST_BATCH, _BATCH_VALUES // max(1, columns)))


# -- CSV --------------------------------------------------------------------------------------


class _Csv:
    """Comma-separated, UTF-8, with a line of names."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path = path
        self.names = self._header()
        kinds = [_Kind() for _ in self.names]
        for rows in self._rows(progress):
            for kind, fields in zip(kinds, zip(*rows, strict=True), strict=True):
                kind.see(fields)
        self._kinds = dict(zip(self.names, kinds, strict=True))

    @property
    def textual(self) -> frozenset[str]:
        return frozenset(name for name, kind in self._kinds.items() if kind.read is _text)

    def batches(self, names: Sequence[str], progress: Progress) -> Iterator[Columns]:
        places = [self.names.index(name) for name in names]
        for rows in self._rows(progress):
            fields = list(zip(*rows, strict=True))
            yield {
                name: self._kinds[name].values(fields[place])
                for name, place in zip(names, places, strict=True)
            }

    def _header(self) -> tuple[str, ...]:
        with _naming(self._path), self._path.open("rb") as file:
            names = next(self._lines(_text_of(file)), None)
        if not names:
            raise TableError("is empty: its first line must name the columns", where=self._at(1))
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise TableError(f"column {twice!r} stands there twice", where=self._at(1))
        return tuple(names)

    def _rows(self, progress: Progress) -> Iterator[list[list[str]]]:
        size, most = self._path.stat().st_size, _batch_rows(len(self.names))
        with _naming(self._path), self._path.open("rb") as file:
            text = _text_of(file)  # which closes the file when it goes
            lines = self._lines(text)
            next(lines)
            while rows := list(islice(lines, most)):
                yield rows
                progress(min(1.0, file.tell() / size))

    def _lines(self, text: io.TextIOWrapper) -> Iterator[list[str]]:
        """Rows as wide as the first; empty lines are none."""
        reader = csv.reader(text, strict=True)
        width = 0
        try:
            for row in reader:
                if row and len(row) != (width := width or len(row)):
                    raise TableError(
                        f"must have {width} fields, as the first line. Given: {len(row)}",
                        where=self._at(reader.line_num),
                    )
                if row:
                    yield row
        except UnicodeDecodeError as error:
            raise self._not_utf8() from error
        except csv.Error as error:
            raise TableError(str(error), where=self._at(reader.line_num)) from error

    def _not_utf8(self) -> TableError:
        """Named by its line: decoding is ahead of the reader."""
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    given = f"must be UTF-8. Given: byte 0x{line[error.start]:02x}"
                    return TableError(given, where=self._at(number))
        return TableError("changed while it was read", where=str(self._path))

    def _at(self, line: int) -> str:
        return f"{self._path}, line {line}"


def _text_of(file: io.BufferedReader) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, "utf-8-sig", newline="")


class _Kind:
    """What all fields of a CSV column so far can be read as; the narrowest counts."""

    def __init__(self) -> None:
        self._left: list[Callable[[str], Any]] = [_integer, _number, _boolean]

    @property
    def read(self) -> Callable[[str], Any]:
        return self._left[0] if self._left else _text

    def see(self, fields: Sequence[str]) -> None:
        fit: list[Callable[[str], Any]] = []
        for read in self._left:
            # What is an integer is a number without another look.
            if (read is _number and _integer in fit) or _fits(read, fields):
                fit.append(read)
        self._left = fit

    def values(self, fields: Sequence[str]) -> list[Any]:
        read = self.read
        return [None if field in MISSING else read(field) for field in fields]


def _fits(read: Callable[[str], Any], fields: Sequence[str]) -> bool:
    try:
        for field in fields:
            if field not in MISSING:
                read(field)
    except ValueError:
        return False
    return True


def _integer(field: str) -> int:
    # As JSON has them: not 1_000, which Python takes as well.
    if "_" in field:
        raise ValueError
    return int(field)


def _number(field: str) -> float:
    if "_" in field:
        raise ValueError
    return float(field)


def _boolean(field: str) -> bool:
    try:
        return _BOOLEANS[field]
    except KeyError:
        raise ValueError from None


def _text(field: str) -> str:
    return field


# -- Parquet ----------------------------------------------------------------------------------


class _Parquet:
    """Read by duckdb, which comes with the extra `parquet`."""

    def __init__(self, path: Path) -> None:
        try:
            import duckdb
        except ImportError:
            raise TableError(
                "reading Parquet needs duckdb: pip install 'branch-gateway[parquet]'",
                where=str(path),
            ) from None
        self._path = path
        self._error = duckdb.Error
        self._connect = duckdb.connect
        with self._reading() as connection:
            described = connection.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall()
            (self._count,) = connection.execute(
                "SELECT count(*) FROM read_parquet(?)", [str(path)]
            ).fetchone()
        kinds = {name: kind for name, kind, *_ in described}
        self.names = tuple(kinds)
        self.textual = frozenset(name for name, kind in kinds.items() if not _is_number(kind))

    def batches(self, names: Sequence[str], progress: Progress) -> Iterator[Columns]:
        listed = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        most, done = _batch_rows(len(names)), 0
        with self._reading() as connection:
            query = f"SELECT {listed} FROM read_parquet(?)"  # noqa: S608 - quoted above
            found = connection.execute(query, [str(self._path)])
            while rows := found.fetchmany(most):
                columns = zip(names, zip(*rows, strict=True), strict=True)
                yield {name: plain_values(values) for name, values in columns}
                done += len(rows)
                progress(done / self._count)

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        connection = self._connect(config={"threads": 1, "memory_limit": "512MB"})
        try:
            yield connection
        except self._error as error:
            said = str(error).splitlines()[0]
            raise TableError(f"cannot be read: {said}", where=str(self._path)) from error
        finally:
            connection.close()


def _is_number(kind: str) -> bool:
    return kind.split("(")[0] in {
        *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "DECIMAL"),
    }


# -- values -----------------------------------------------------------------------------------


def plain_values(values: Sequence[Any]) -> list[Any]:
    """Values of Python, numpy and pandas as JSON would have them; NaN may stay."""
    if set(map(type, values)) <= _JSON:
        return list(values)
    return [plain(value) for value in values]


def plain(value: Any) -> Any:
    """One value as JSON would have it: dates as ISO 8601, decimals as numbers; NaN may stay."""
    if type(value) in _JSON:
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if callable(listed := getattr(value, "tolist", None)):
        inner = listed()
        return inner if type(inner) in _JSON else plain(inner)
    return str(value)


def clean(value: Any) -> Any:
    """The value as JSON can hold it: what is no finite number is null, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(inner) for inner in value]
    return plain(value)
