"""Reads the journal's chunks: the reading side of the single source of truth for what was served.

Owns the records' shapes and their tolerance: unknown kinds of a later version are counted and
skipped, a line that is no record is named and passed over. Writes nothing; `journal` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any, Literal, Self
from zlib import crc32

import msgspec

from gateway.errors import StateError
from gateway.names import Branch, InvalidName

#: Seconds that a row's time stamp may be before that of its chunk's header, at most: both are taken
#: before anything is written.
BEFORE_HEADER = 2.0

_FILE = re.compile(r"(\d{8,})\.jsonl")
_WRITER = re.compile(r"[0-9a-f]{8}")
_REQUEST = re.compile(
    rb'\{"t":"request","ts":"[^"]*","request_id":"([^"]*)","status":"[^"]*"'
    rb',"latency_ms":[^,]*,"rows":(\d+)'
)


class ChunkError(StateError):
    """A chunk that cannot be read at all: no header, or the header of another chunk."""


@dataclass(frozen=True, slots=True, order=True)
class ChunkKey:
    """The identity of a chunk everywhere and for ever: who wrote it, and its number there."""

    writer: str
    number: int

    def __str__(self) -> str:
        return f"{self.writer}/{self.number}"

    @property
    def file(self) -> str:
        """The sealed chunk's path inside the journal."""
        return f"{self.writer}/{self.number:08}.jsonl"


@dataclass(frozen=True, slots=True)
class ChunkFile:
    """A sealed chunk on disk."""

    key: ChunkKey
    path: Path
    size: int


class Header(msgspec.Struct, frozen=True, tag_field="t", tag="chunk"):
    """First line of every chunk: who, when, and the settings its rows were recorded under."""

    v: int
    writer: str
    chunk: int
    opened: str
    sample_rows: int | Literal["all"]
    features: Literal["segments", "journal", "none"]
    redact: tuple[str, ...] = ()
    target: Literal["branch", "side-branch", "none"] = "branch"

    @property
    def key(self) -> ChunkKey:
        return ChunkKey(self.writer, self.chunk)

    @property
    def time(self) -> datetime:
        """When it was opened; ValueError if `opened` is no RFC 3339 time."""
        return datetime.fromisoformat(self.opened).astimezone(UTC)


class Schema(msgspec.Struct, frozen=True, tag_field="t", tag="schema"):
    """What a fingerprint's model calls its columns and classes."""

    fingerprint: str
    columns: tuple[str, ...] | None = None
    classes: tuple[Any, ...] | None = None


class EpochRecord(msgspec.Struct, frozen=True, tag_field="t", tag="epoch"):
    """What an epoch's digest was taken over."""

    epoch: str
    salt: str = ""
    weights: dict[str, float] = {}
    fingerprints: dict[str, str | None] = {}
    #: Which branch the others were compared with; not part of the digest.
    baseline: str = ""


class Answered(msgspec.Struct, frozen=True, tag_field="t", tag="request"):
    """What a request's line says of it before its rows."""

    ts: str
    request_id: str
    branch: str
    assigned: str
    reason: str
    status: str
    rows: int
    commit: str = ""
    fingerprint: str = ""
    epoch: str = ""
    unit: str | None = None
    latency_ms: float | None = None


class Request(Answered, frozen=True, tag_field="t", tag="request"):
    """One request of `rows` rows as it was answered, or was not. Model values stay JSON text."""

    propensity: float | None = None
    predictions: list[msgspec.Raw] | None = None
    probabilities: list[msgspec.Raw] | None = None
    instances: list[msgspec.Raw] | None = None
    normalised: bool = False
    error: str | None = None


class Decision(msgspec.Struct, frozen=True, tag_field="t", tag="decision"):
    """Something the gateway decided about a branch."""

    ts: str
    branch: str
    decision: str
    commit: str = ""
    reason: str = ""
    evidence: msgspec.Raw = msgspec.Raw(b"{}")


class Log(msgspec.Struct, frozen=True, tag_field="t", tag="log"):
    """A warning or error of a branch's code or of its loading."""

    ts: str
    branch: str
    level: str
    message: str
    commit: str = ""
    logger: str | None = None
    request_id: str | None = None


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t", tag="outcome"):
    """What became of one predicted row, as somebody told. `sent` is the caller's time, if any."""

    ts: str
    request_id: str
    metric: str
    row: int = 0
    #: A number, or else what the prediction should have been, as JSON text: msgspec reads no
    #: `Raw | None` but null.
    value: float | None = None
    label: str | None = None
    #: It came after the metric's window.
    late: bool = False
    sent: str | None = None


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no record. `where` is `writer/number.jsonl:line`, the same on any machine."""

    where: str
    reason: str


Record = Header | Schema | EpochRecord | Request | Decision | Log | Outcome

_RECORDS: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
_KINDS = frozenset({"chunk", "schema", "epoch", "request", "decision", "log", "outcome"})


class _Kind(msgspec.Struct):
    t: str


class Chunk:
    """One chunk being read: its header at once, its records once, as a stream.

    `skipped` counts the records of kinds this version does not know. With `sealed` false the file
    is still being written and its last line, if torn, is not there yet. With `every` k, only one
    of k requests is read, chosen by its id; `left_out` counts the rows of the others.
    """

    def __init__(self, path: Path, *, sealed: bool = True, every: int = 1) -> None:
        self.path = path
        self.sealed = sealed
        self.skipped = 0
        self.left_out = 0
        self._every = every
        self._name = f"{path.parent.name}/{path.name}"

    def __enter__(self) -> Self:
        self._file = self.path.open("rb")
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    @property
    def key(self) -> ChunkKey:
        return self.header.key

    def __iter__(self) -> Iterator[Record | BadLine]:
        for number, line in enumerate(self._file, start=2):
            if not self.sealed and not line.endswith(b"\n"):
                return
            if self._every > 1 and self._is_left_out(line):
                continue
            record = self._parse(line, number)
            if record is not None:
                yield record

    def _is_left_out(self, line: bytes) -> bool:
        """Told without reading it as JSON, which is what takes time."""
        request = _REQUEST.match(line)
        if request is None or crc32(request[1]) % self._every == 0:
            return False
        self.left_out += int(request[2])
        return True

    def _read_header(self) -> Header:
        where = f"{self._name}:1"
        record = self._parse(self._file.readline(), 1)
        if isinstance(record, BadLine):
            raise ChunkError(f"not a chunk's header: {record.reason}", where=where)
        if not isinstance(record, Header):
            raise ChunkError("the first line must be the chunk's header", where=where)
        named = record.key.file.removesuffix(".jsonl")
        if _WRITER.fullmatch(record.writer) is None or self._name.rpartition(".")[0] != named:
            raise ChunkError(f"this is the header of chunk {record.key}", where=where)
        try:
            datetime.fromisoformat(record.opened)
        except ValueError:
            message = f"`opened` must be a time in RFC 3339. Given: {record.opened!r}"
            raise ChunkError(message, where=where) from None
        return record

    def _parse(self, line: bytes, number: int) -> Record | BadLine | None:
        where = f"{self._name}:{number}"
        try:
            line.decode()
            record = _RECORDS.decode(line)
            if isinstance(record, Request | Decision | Log):
                Branch(record.branch)
        except msgspec.ValidationError as error:
            if self._of_a_later_version(line):
                self.skipped += 1
                return None
            return BadLine(where, str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidName, RecursionError) as error:
            return BadLine(where, str(error))
        return record

    @staticmethod
    def _of_a_later_version(line: bytes) -> bool:
        try:
            return msgspec.json.decode(line, type=_Kind).t not in _KINDS
        except msgspec.DecodeError:
            return False


def sealed_chunks(journal: Path) -> list[ChunkFile]:
    """The sealed chunks of every writer: the longest waiting writer first, its chunks in order."""
    writers: list[tuple[int, list[ChunkFile]]] = []
    if not journal.is_dir():
        return []
    for folder in journal.iterdir():
        if _WRITER.fullmatch(folder.name) is None or not folder.is_dir():
            continue
        oldest, chunks = _chunks_of(folder)
        if chunks:
            writers.append((oldest, sorted(chunks, key=lambda chunk: chunk.key)))
    writers.sort(key=lambda writer: (writer[0], writer[1][0].key))
    return [chunk for _, chunks in writers for chunk in chunks]


def unsealed_chunks(
    journal: Path, writes: Callable[[str], bool] = lambda writer: True
) -> list[float]:
    """When each chunk that is still being written was begun, Unix time in seconds.

    Of a writer that is gone for now nothing is awaited: `writes` says of which there is.
    """
    begun = []
    for path in journal.glob("*/*.open"):
        if not writes(path.parent.name):
            continue
        try:
            with Chunk(path, sealed=False) as chunk:
                begun.append(chunk.header.time.timestamp())
        except (ChunkError, FileNotFoundError):
            # Its first line is being written, or it was sealed just now.
            begun.append(0.0 if path.exists() else inf)
    return begun


def _chunks_of(folder: Path) -> tuple[int, list[ChunkFile]]:
    chunks = []
    times = []
    for path in _paths_in(folder):
        match = _FILE.fullmatch(path.name)
        if match is None:
            continue
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        times.append(status.st_mtime_ns)
        chunks.append(ChunkFile(ChunkKey(folder.name, int(match[1])), path, status.st_size))
    return min(times, default=0), chunks


def _paths_in(folder: Path) -> list[Path]:
    """None of a folder that was emptied and taken away since the look at its journal."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
