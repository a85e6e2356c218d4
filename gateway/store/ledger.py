"""What experiments keep on the disk: how far the journal was read, who was seen, what came of it.

A connection of its own to the store's file, for the thread that experiments run in. `whole` makes
one transaction of many calls, so that a batch of records is taken wholly or not at all.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from gateway.chunks import ChunkKey
from gateway.experiments.cells import Cell, CellKey
from gateway.layout import Kind
from gateway.names import BUCKETS, Branch
from gateway.store.sqlite import SqliteStore

#: The part of a chunk that experiments take.
PART = "experiments"
_BETWEEN = "\x1f"
_CELL = msgspec.json.Decoder(Cell)
_OF_KEY = "WHERE contrast = ? AND start = ? AND stop = ? AND epoch = ? AND arm = ? AND metric = ?"


class Place(msgspec.Struct, frozen=True):
    """What many exposures have in common."""

    epoch: str
    assigned: str
    reason: str
    status: str
    branch: str
    commit: str
    fingerprint: str
    #: Which branch its arm was compared with; empty where nobody said.
    baseline: str
    #: Seconds of the time spans that its units are counted in.
    span: int


class Exposure(NamedTuple):
    """An answered request, as long as outcomes of it may come. `ts` is in milliseconds."""

    request_id: str
    ts: int
    place: Place
    unit: int | None
    rows: int
    answers: bytes | None


#: In the place of the branch, of one that waits and came too late only: no branch is called so.
LATE = "?late"


@dataclass(slots=True)
class KeptOutcome:
    """What was told of one row and metric, and what became of it; `ts` is in milliseconds."""

    request_id: str
    row: int
    metric: str
    ts: int
    value: float | None
    label: bytes | None
    status: Literal["accepted", "late", "unknown", "waiting"]
    branch: str = ""
    #: How often it was told again in time, and how often too late.
    duplicates: int = 0
    late: int = 0

    @property
    def in_time(self) -> bool:
        """Was it told in time at least once?"""
        return self.status != "late" and self.branch != LATE


class Line(NamedTuple):
    """A row for git that is in no segment yet, without its end of line."""

    kind: Kind
    branch: Branch
    text: str


class Ledger(SqliteStore):
    """The store, with what only experiments keep."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._words: dict[str, int] = {}
        self._places: dict[int, Place] = {}

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Everything in it happens, or nothing does."""
        try:
            with self._transaction():
                yield
        except BaseException:
            # What was learned in it may be gone, and its number another one's.
            self._words.clear()
            self._places.clear()
            raise

    # How far the journal was read

    def place_of(self, key: ChunkKey) -> int:
        """How many bytes of a chunk were taken."""
        found = self._row(
            "SELECT place FROM reading WHERE writer = ? AND number = ?", key.writer, key.number
        )
        return found[0] if found else 0

    def set_place(self, key: ChunkKey, place: int) -> None:
        self._do("INSERT OR REPLACE INTO reading VALUES (?, ?, ?)", key.writer, key.number, place)

    def reaches(self, key: ChunkKey) -> float:
        """How many bytes of a chunk anybody took; inf of one that was counted as a whole."""
        counted = self._row(
            "SELECT 1 FROM counted WHERE writer = ? AND number = ?", key.writer, key.number
        )
        return inf if counted else self.place_of(key)

    def finish(self, key: ChunkKey) -> None:
        """Nothing more will come in this chunk."""
        self._do("DELETE FROM reading WHERE writer = ? AND number = ?", key.writer, key.number)
        self._do("INSERT OR IGNORE INTO counted VALUES (?, ?, ?)", key.writer, key.number, PART)

    # Units

    def mark(self, scope: str, units: Collection[int]) -> set[int]:
        """Put units into a set; those that were not in it."""
        new = set(units) - self.among(scope, units)
        number = self._word(scope)
        with self._transaction() as db:
            db.executemany("INSERT INTO unit_set VALUES (?, ?)", [(number, one) for one in new])
        return new

    def among(self, scope: str, units: Collection[int]) -> set[int]:
        """Those of the units that are in the set."""
        with self._translated():
            found = self._db.execute(
                "SELECT unit FROM unit_set WHERE scope = ?"
                " AND unit IN (SELECT value FROM json_each(?))",
                (self._word(scope), json.dumps(list(units))),
            )
            return {unit for (unit,) in found}

    def forget_units(self, beginning: str) -> None:
        """Empty the set of that scope, and those whose scopes go on from there."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM unit_set WHERE scope IN (SELECT id FROM word"
                " WHERE text = ? OR substr(text, 1, ?) = ?)",
                (beginning, len(beginning) + 1, beginning + _BETWEEN),
            )

    def thin(self, kept: int) -> None:
        """Take away the units of all buckets but the first `kept`, with all of their exposures.

        Those without a unit are chosen by their random last byte. Outcomes that wait go on waiting.
        """
        with self._transaction() as db:
            if kept < BUCKETS:
                for table in ("unit_set", "exposure"):
                    db.execute(f"DELETE FROM {table} WHERE ((unit >> 56) & 255) >= ?", (kept,))  # noqa: S608
                db.execute(
                    "DELETE FROM exposure WHERE unit IS NULL AND substr(id, 16) >= ?",
                    (bytes([kept]),),
                )
            for rest in ("shadow_answer WHERE", "outcome WHERE status <> 'waiting' AND"):
                db.execute(f"DELETE FROM {rest} id NOT IN (SELECT id FROM exposure)")  # noqa: S608

    def size(self) -> int:
        """Rows of the index: units in sets, exposures, and what came of them and waits no more."""
        tables = ("unit_set", "exposure", "shadow_answer", "outcome WHERE status <> 'waiting'")
        return sum(self._row(f"SELECT count(*) FROM {table}")[0] for table in tables)  # noqa: S608

    # Exposures

    def add_exposures(self, exposures: Iterable[Exposure]) -> None:
        rows = [
            (_id(one.request_id), one.ts, self._place(one.place), *one[3:]) for one in exposures
        ]
        with self._transaction() as db:
            db.executemany("INSERT OR IGNORE INTO exposure VALUES (?, ?, ?, ?, ?, ?)", rows)

    def exposure(self, request_id: str) -> Exposure | None:
        found = self._row(
            "SELECT ts, place, unit, row_count, answers FROM exposure WHERE id = ?", _id(request_id)
        )
        if found is None:
            return None
        ts, place, unit, rows, answers = found
        return Exposure(request_id, ts, self._place_at(place), unit, rows, answers)

    def add_shadow_answers(self, answers: Iterable[tuple[str, Place, bytes]]) -> None:
        rows = [(_id(request_id), self._place(place), text) for request_id, place, text in answers]
        with self._transaction() as db:
            db.executemany("INSERT OR IGNORE INTO shadow_answer VALUES (?, ?, ?)", rows)

    def shadow_answers(self, request_id: str) -> list[tuple[Place, bytes]]:
        with self._translated():
            found = self._db.execute(
                "SELECT place, answers FROM shadow_answer WHERE id = ?", (_id(request_id),)
            ).fetchall()
        return [(self._place_at(place), answers) for place, answers in found]

    def forget_exposures(self, before: int) -> int:
        """Of requests that came before then, in milliseconds, with all that came of them.

        Returns how many exposures those were.
        """
        first = before.to_bytes(6) + bytes(10)
        with self._transaction() as db:
            for table in ("shadow_answer", "outcome"):
                db.execute(f"DELETE FROM {table} WHERE id < ?", (first,))  # noqa: S608
            return db.execute("DELETE FROM exposure WHERE id < ?", (first,)).rowcount

    # Outcomes

    def outcome(self, request_id: str, row: int, metric: str) -> KeptOutcome | None:
        found = self._outcomes(
            "WHERE id = ? AND row = ? AND metric = ?", _id(request_id), row, metric
        )
        return found[0] if found else None

    def outcomes(self, request_id: str) -> list[KeptOutcome]:
        return self._outcomes("WHERE id = ? ORDER BY row, metric", _id(request_id))

    def has_waiting(self) -> bool:
        return self._row("SELECT 1 FROM outcome WHERE status = 'waiting' LIMIT 1") is not None

    def waiting(self, before: int, most: int) -> list[KeptOutcome]:
        """Those that waited and have their exposure now, or came before then; oldest first."""
        return self._outcomes(
            "WHERE status = 'waiting' AND (ts < ? OR id IN (SELECT id FROM exposure))"
            " ORDER BY ts LIMIT ?",
            *(before, most),
        )

    def keep(self, outcome: KeptOutcome) -> None:
        self._do(
            "INSERT OR REPLACE INTO outcome VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(_id(outcome.request_id), outcome.row, outcome.metric, outcome.ts),
            *(outcome.value, outcome.label, outcome.status, outcome.branch),
            *(outcome.duplicates, outcome.late),
        )

    def drop(self, outcome: KeptOutcome) -> None:
        """It is not to be known any more."""
        identity = (_id(outcome.request_id), outcome.row, outcome.metric)
        self._do("DELETE FROM outcome WHERE id = ? AND row = ? AND metric = ?", *identity)

    def _outcomes(self, where: str, *values: object) -> list[KeptOutcome]:
        with self._translated():
            found = self._db.execute(
                "SELECT id, row, metric, ts, value, label, status, branch, duplicates, late"  # noqa: S608
                f" FROM outcome {where}",
                values,
            ).fetchall()
        return [KeptOutcome(_text(one[0]), *one[1:]) for one in found]

    # What goes into git

    def add_lines(self, lines: Iterable[Line]) -> None:
        with self._transaction() as db:
            db.executemany("INSERT INTO line (kind, branch, text) VALUES (?, ?, ?)", lines)

    def take_lines(self, most: int) -> list[Line]:
        """The oldest ones, which are then no more here."""
        with self._transaction() as db:
            found = db.execute(
                "SELECT id, kind, branch, text FROM line ORDER BY id LIMIT ?", (most,)
            ).fetchall()
            if found:
                db.execute("DELETE FROM line WHERE id <= ?", (found[-1][0],))
        return [Line(kind, Branch(branch), text) for _, kind, branch, text in found]

    # Cells

    def cells(self, contrast: str) -> Iterator[tuple[CellKey, Cell | None, Cell | None]]:
        """A contrast's cells: what was written of each, and what is new."""
        with self._translated():
            found = self._db.execute(
                "SELECT * FROM cell WHERE contrast = ?", (contrast,)
            ).fetchall()
        for *key, written, fresh in found:
            yield CellKey(*key), _cell(written), _cell(fresh)

    def keep_fresh(self, cells: Mapping[CellKey, Cell]) -> None:
        """What is new of these cells, altogether."""
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO cell VALUES (?, ?, ?, ?, ?, ?, NULL, ?)"
                " ON CONFLICT DO UPDATE SET fresh = excluded.fresh",
                [(*key, msgspec.json.encode(cell)) for key, cell in cells.items()],
            )

    def was_written(self, key: CellKey) -> bool:
        """Is there a row of it?"""
        return self._written(key) is not None

    def write_cell(self, key: CellKey, fresh: Cell) -> None:
        """All that is new of it was written."""
        written = _cell(self._written(key))
        if written is not None:
            written.add(fresh)
        text = msgspec.json.encode(fresh if written is None else written)
        self._do("INSERT OR REPLACE INTO cell VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", *key, text)

    def forget_cells(self, where: str, *values: object) -> bool:
        """Those of a contrast, a metric or before a time; `where` is a condition of ours."""
        with self._transaction() as db:
            return db.execute(f"DELETE FROM cell WHERE {where}", values).rowcount > 0  # noqa: S608

    def forget_experiments(self) -> None:
        """Everything but how far the journal was read, and what waits to be written."""
        with self._transaction() as db:
            for table in ("unit_set", "exposure", "shadow_answer", "outcome", "cell"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608
            db.execute("DELETE FROM memory WHERE room LIKE 'experiment%'")

    def _written(self, key: CellKey) -> bytes | None:
        found = self._row(f"SELECT written FROM cell {_OF_KEY}", *key)  # noqa: S608
        return found[0] if found else None

    # The file

    def _do(self, statement: str, *values: object) -> None:
        with self._transaction() as db:
            db.execute(statement, values)

    def _row(self, statement: str, *values: object) -> Any:
        with self._translated():
            return self._db.execute(statement, values).fetchone()

    def _word(self, text: str) -> int:
        known = self._words.get(text)
        if known is None:
            self._do("INSERT OR IGNORE INTO word (text) VALUES (?)", text)
            known = self._words[text] = self._row("SELECT id FROM word WHERE text = ?", text)[0]
        return known

    def _place(self, place: Place) -> int:
        return self._word(msgspec.json.encode(place).decode())

    def _place_at(self, number: int) -> Place:
        if number not in self._places:
            text = self._row("SELECT text FROM word WHERE id = ?", number)[0]
            self._places[number] = msgspec.json.decode(text, type=Place)
        return self._places[number]


def scope(kind: str, *names: str) -> str:
    """The name of a set of units."""
    return _BETWEEN.join((kind, *names))


def bucket_of(unit: int) -> int:
    """Of a unit as it is kept here: `signed` of its 16 hex digits."""
    return (unit >> 56) & 255


def signed(unit: str) -> int:
    """A unit's 16 hex digits as SQLite keeps whole numbers."""
    return int.from_bytes(bytes.fromhex(unit), signed=True)


def _cell(text: bytes | None) -> Cell | None:
    return None if text is None else _CELL.decode(text)


def _id(request_id: str) -> bytes:
    return bytes.fromhex(request_id.replace("-", ""))


def _text(identity: bytes) -> str:
    text = identity.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
