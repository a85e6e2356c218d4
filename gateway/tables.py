"""The door to files of rows, CSV and Parquet, as batches of columns of JSON-like values.

Streams: memory is bounded by a batch, whatever the file's length. Owns what counts as missing or
as a number in a CSV, which knows texts only.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from gateway.errors import GatewayError
from gateway.plain import plain_values

#: Fields of a CSV that hold no value.
MISSING = frozenset({"", "NA", "NaN", "nan", "null", "None", "N/A"})

_BOOLEANS = {"True": True, "TRUE": True, "true": True}
_BOOLEANS |= {"False": False, "FALSE": False, "false": False}
#: Values of a batch, whatever the number of columns.
_BATCH_VALUES = 250_000
_MOST_BATCH = 8_192
_PARQUET = b"PAR1"

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

    def batches(self, names: Sequence[str], progress: Progress) -> Iterator[Columns]:
        places = [self.names.index(name) for name in names]
        for rows in self._rows(progress):
            fields = list(zip(*rows, strict=True))
            yield {
                name: self._kinds[name].values(fields[place])
                for name, place in zip(names, places, strict=True)
            }

    @contextmanager
    def _opened(self) -> Iterator[io.TextIOWrapper]:
        with _naming(self._path), self._path.open(encoding="utf-8-sig", newline="") as file:
            yield file

    def _header(self) -> tuple[str, ...]:
        with self._opened() as file:
            names = next(self._lines(file), None)
        if not names:
            raise TableError("is empty: its first line must name the columns", where=self._at(1))
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise TableError(f"column {twice!r} stands there twice", where=self._at(1))
        return tuple(names)

    def _rows(self, progress: Progress) -> Iterator[list[list[str]]]:
        size, most = self._path.stat().st_size, _batch_rows(len(self.names))
        with self._opened() as file:
            lines = self._lines(file)
            next(lines)
            while rows := list(islice(lines, most)):
                yield rows
                progress(min(1.0, os.lseek(file.fileno(), 0, os.SEEK_CUR) / size))

    def _lines(self, file: io.TextIOWrapper) -> Iterator[list[str]]:
        """Rows as wide as the first; empty lines are none."""
        reader = csv.reader(file, strict=True)
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


class _Kind:
    """What all fields of a CSV column so far can be read as; the narrowest counts."""

    def __init__(self) -> None:
        self._left: list[_Read] = [_integers, _numbers, _booleans]

    @property
    def read(self) -> _Read:
        return self._left[0] if self._left else _texts

    def see(self, fields: Sequence[str]) -> None:
        present = [field for field in fields if field not in MISSING]
        fit: list[_Read] = []
        for read in self._left:
            # What is an integer is a number without another look.
            if (read is _numbers and _integers in fit) or _fits(read, present):
                fit.append(read)
        self._left = fit

    def values(self, fields: Sequence[str]) -> list[Any]:
        present = [field for field in fields if field not in MISSING]
        values = self.read(present)
        if len(values) == len(fields):
            return values
        rest = iter(values)
        return [None if field in MISSING else next(rest) for field in fields]


#: Reads fields that are all present; ValueError where one is of another kind.
_Read = Callable[[list[str]], list[Any]]


def _fits(read: _Read, fields: list[str]) -> bool:
    try:
        read(fields)
    except ValueError:
        return False
    return True


def _integers(fields: list[str]) -> list[Any]:
    _no_underscores(fields)
    return list(map(int, fields))


def _numbers(fields: list[str]) -> list[Any]:
    _no_underscores(fields)
    return list(map(float, fields))


def _no_underscores(fields: list[str]) -> None:
    """1_000 is a number to Python alone."""
    if "_" in "".join(fields):
        raise ValueError


def _booleans(fields: list[str]) -> list[Any]:
    try:
        return [_BOOLEANS[field] for field in fields]
    except KeyError:
        raise ValueError from None


def _texts(fields: list[str]) -> list[Any]:
    return fields


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
        self.names = tuple(name for name, *_ in described)

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
