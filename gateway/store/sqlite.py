"""The store of one machine: an SQLite file in the state directory.

Owns the file, its schema and the schema's versions. One writer: whoever holds the monitor's lock.
A transaction is on the disk when a call returns, since the chunk it speaks of may be deleted next.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Self

from gateway.chunks import ChunkKey
from gateway.errors import StateError
from gateway.layout import Segment
from gateway.names import Branch
from gateway.store.interface import Name, Outgoing, Publication, Push

#: Never changed once released, only added to: the n-th brings a file from version n - 1 to n.
MIGRATIONS = (
    """
    CREATE TABLE counted (
        writer TEXT NOT NULL, number INTEGER NOT NULL, part TEXT NOT NULL,
        PRIMARY KEY (writer, number, part)
    ) WITHOUT ROWID;
    CREATE TABLE total (
        kind TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL,
        PRIMARY KEY (kind, name)
    ) WITHOUT ROWID;
    CREATE TABLE confirmation (
        writer TEXT NOT NULL, number INTEGER NOT NULL, branch TEXT NOT NULL,
        ref TEXT NOT NULL, commit_id TEXT NOT NULL,
        PRIMARY KEY (writer, number, branch)
    ) WITHOUT ROWID;
    CREATE TABLE publication (branch TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE memory (
        room TEXT NOT NULL, name TEXT NOT NULL, content BLOB NOT NULL,
        PRIMARY KEY (room, name)
    );
    CREATE TABLE outgoing (
        writer TEXT NOT NULL, number INTEGER NOT NULL, path TEXT NOT NULL,
        kind TEXT NOT NULL, branch TEXT NOT NULL, content BLOB NOT NULL, row_count INTEGER NOT NULL,
        PRIMARY KEY (writer, number, path)
    );
    """,
    """
    CREATE TABLE reading (
        writer TEXT NOT NULL, number INTEGER NOT NULL, place INTEGER NOT NULL,
        PRIMARY KEY (writer, number)
    ) WITHOUT ROWID;
    CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
    CREATE TABLE unit_set (
        scope INTEGER NOT NULL, unit INTEGER NOT NULL, PRIMARY KEY (scope, unit)
    ) WITHOUT ROWID;
    CREATE TABLE exposure (
        id BLOB PRIMARY KEY, ts INTEGER NOT NULL, place INTEGER NOT NULL, unit INTEGER,
        row_count INTEGER NOT NULL, answers BLOB
    ) WITHOUT ROWID;
    CREATE TABLE shadow_answer (
        id BLOB NOT NULL, place INTEGER NOT NULL, answers BLOB NOT NULL, PRIMARY KEY (id, place)
    ) WITHOUT ROWID;
    CREATE TABLE outcome (
        id BLOB NOT NULL, row INTEGER NOT NULL, metric TEXT NOT NULL, ts INTEGER NOT NULL,
        value REAL, label BLOB, status TEXT NOT NULL, branch TEXT NOT NULL,
        duplicates INTEGER NOT NULL, PRIMARY KEY (id, row, metric)
    ) WITHOUT ROWID;
    CREATE INDEX outcome_waiting ON outcome (ts) WHERE status = 'waiting';
    CREATE TABLE line (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, branch TEXT NOT NULL, text TEXT NOT NULL
    );
    CREATE TABLE cell (
        contrast TEXT NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL, epoch TEXT NOT NULL,
        arm TEXT NOT NULL, metric TEXT NOT NULL, written BLOB, fresh BLOB,
        PRIMARY KEY (contrast, start, stop, epoch, arm, metric)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE outcome ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
    UPDATE outcome SET late = 1 WHERE status = 'late' OR branch = '?late';
    """,
)

#: What stays of the write-ahead log once it is taken over: one large change must not keep its room.
_LOG_BYTES = 64 * 1024 * 1024


class SqliteStore:
    """The Store in one file; `with` opens and closes it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        with self._translated():
            self._db = sqlite3.connect(self._path, timeout=30.0, isolation_level=None)
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
                self._migrate()
            except BaseException:
                self._db.close()
                raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._db.close()

    def add_counts(self, key: ChunkKey, part: str, counts: Mapping[Name, int]) -> bool:
        with self._transaction() as db:
            inserted = db.execute(
                "INSERT OR IGNORE INTO counted VALUES (?, ?, ?)", (key.writer, key.number, part)
            )
            if not inserted.rowcount:
                return False
            db.executemany(
                "INSERT INTO total VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET value = value + excluded.value",
                [(name[0], json.dumps(name[1:]), value) for name, value in counts.items()],
            )
        return True

    def has(self, key: ChunkKey, part: str) -> bool:
        with self._translated():
            found = self._db.execute(
                "SELECT 1 FROM counted WHERE writer = ? AND number = ? AND part = ?",
                (key.writer, key.number, part),
            )
            return found.fetchone() is not None

    def recall(self, room: str) -> dict[str, bytes]:
        with self._translated():
            found = self._db.execute("SELECT name, content FROM memory WHERE room = ?", (room,))
            return dict(found)

    def remember(
        self,
        changes: Mapping[tuple[str, str], bytes | None],
        *,
        taken: tuple[ChunkKey, str] | None = None,
        outgoing: Iterable[Segment] = (),
    ) -> bool:
        with self._transaction() as db:
            if taken is not None:
                key, part = taken
                inserted = db.execute(
                    "INSERT OR IGNORE INTO counted VALUES (?, ?, ?)", (key.writer, key.number, part)
                )
                if not inserted.rowcount:
                    return False
            gone = [place for place, content in changes.items() if content is None]
            db.executemany("DELETE FROM memory WHERE room = ? AND name = ?", gone)
            db.executemany(
                "INSERT OR REPLACE INTO memory VALUES (?, ?, ?)",
                [(*place, content) for place, content in changes.items() if content is not None],
            )
            db.executemany(
                "INSERT INTO outgoing VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (*(s.key.writer, s.key.number), s.path, s.kind, s.branch, s.content, s.rows)
                    for s in outgoing
                ],
            )
        return True

    def outgoing(self) -> list[Outgoing]:
        with self._translated():
            found = self._db.execute(
                "SELECT writer, number, branch, path, length(content) FROM outgoing"
                " ORDER BY writer, number, path"
            )
            return [
                Outgoing(ChunkKey(writer, number), Branch(branch), path, size)
                for writer, number, branch, path, size in found
            ]

    def segments(self, key: ChunkKey, branch: Branch) -> list[Segment]:
        with self._translated():
            found = self._db.execute(
                "SELECT kind, path, content, row_count FROM outgoing"
                " WHERE writer = ? AND number = ? AND branch = ? ORDER BY path",
                (key.writer, key.number, branch),
            )
            return [
                Segment(key, kind, branch, path, content, rows)
                for kind, path, content, rows in found
            ]

    def totals(self, kind: str) -> dict[Name, int]:
        with self._translated():
            found = self._db.execute("SELECT name, value FROM total WHERE kind = ?", (kind,))
            return {(kind, *json.loads(name)): value for name, value in found}

    def confirm(self, keys: Iterable[ChunkKey], branch: Branch, ref: str, commit: str) -> None:
        with self._transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO confirmation VALUES (?, ?, ?, ?, ?)",
                [(key.writer, key.number, branch, ref, commit) for key in keys],
            )

    def confirmed(self, key: ChunkKey) -> dict[Branch, tuple[str, str]]:
        with self._translated():
            found = self._db.execute(
                "SELECT branch, ref, commit_id FROM confirmation WHERE writer = ? AND number = ?",
                (key.writer, key.number),
            )
            return {Branch(branch): (ref, commit) for branch, ref, commit in found}

    def forget(self, key: ChunkKey) -> None:
        with self._transaction() as db:
            for table in ("confirmation", "outgoing"):
                db.execute(
                    f"DELETE FROM {table} WHERE writer = ? AND number = ?",  # noqa: S608
                    (key.writer, key.number),
                )

    def publication(self, branch: Branch) -> Publication:
        with self._translated():
            found = self._db.execute("SELECT state FROM publication WHERE branch = ?", (branch,))
            row = found.fetchone()
        if row is None:
            return Publication()
        state = json.loads(row[0])
        last_push = state.pop("last_push")
        return Publication(**state, last_push=Push(**last_push) if last_push else None)

    def set_publication(self, branch: Branch, publication: Publication) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO publication VALUES (?, ?)",
                (branch, json.dumps(asdict(publication))),
            )

    def _migrate(self) -> None:
        with self._transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY)")
            version = db.execute("SELECT coalesce(max(version), 0) FROM migration").fetchone()[0]
            if version > len(MIGRATIONS):
                raise StateError(
                    f"written by a later version of the gateway (schema {version}; "
                    f"this one knows {len(MIGRATIONS)})",
                    where=str(self._path),
                )
            for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
                for statement in filter(str.strip, migration.split(";")):
                    db.execute(statement)
                db.execute("INSERT INTO migration VALUES (?)", (number,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; within another one, a part of that."""
        if self._db.in_transaction:
            yield self._db
            return
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # Where the disk is full, SQLite may have ended it by itself.
                with contextlib.suppress(sqlite3.OperationalError):
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StateError(f"the store failed: {error}", where=str(self._path)) from error
