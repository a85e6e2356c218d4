"""What was written to the journal since the last look, also in the chunk that is still open.

Reads only what experiments are about, and of that no feature. Writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from gateway import chunks
from gateway.chunks import ChunkKey, EpochRecord, Outcome, sealed_chunks
from gateway.names import Branch, RequestId, Unit

#: Of one look at a chunk.
_MOST_BYTES = 4 * 1024 * 1024


class Answered(chunks.Answered, frozen=True, tag_field="t", tag="request"):
    """A request's line, without its rows."""

    #: A JSON list; empty where nothing was predicted.
    predictions: msgspec.Raw = msgspec.Raw()


Read = Answered | EpochRecord | Outcome
_LINES: msgspec.json.Decoder[Read] = msgspec.json.Decoder(Read)


@dataclass(frozen=True, slots=True)
class Journaled:
    """A chunk's file; the key says which it is, whatever its name is by now."""

    key: ChunkKey
    path: Path
    sealed: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """Records that followed one another, and where in the chunk the next one begins."""

    records: list[Read]
    end: int
    #: There is nothing after it, and in a sealed chunk never will be.
    is_last: bool


def journaled(journal: Path) -> list[Journaled]:
    """The chunks on disk in the order to be read: the sealed ones, then those being written.

    One that is sealed between the two looks is seen as both, or as neither the next time.
    """
    opened = [
        Journaled(ChunkKey(path.parent.name, int(path.stem)), path, sealed=False)
        for path in sorted(journal.glob("*/*.open"))
        if path.stem.isdigit()
    ]
    sealed = [Journaled(one.key, one.path, sealed=True) for one in sealed_chunks(journal)]
    known = {one.key for one in sealed}
    return [*sealed, *(one for one in opened if one.key not in known)]


def pieces(chunk: Journaled, start: int) -> Iterator[Piece]:
    """What stands after byte `start`, piece by piece; FileNotFoundError if it was renamed."""
    with chunk.path.open("rb") as file:
        file.seek(start)
        while True:
            lines = file.readlines(_MOST_BYTES)
            # Only the last one can be torn: it is being written, or was when its writer died. The
            # next look begins with it.
            is_torn = bool(lines) and not lines[-1].endswith(b"\n")
            if is_torn:
                lines.pop()
            start += sum(map(len, lines))
            is_last = is_torn or not lines or start >= os.fstat(file.fileno()).st_size
            yield Piece(list(_records(lines)), start, is_last)
            if is_last:
                return


def _records(lines: list[bytes]) -> Iterator[Read]:
    for line in lines:
        # Other kinds of records, and what is none: the backlog says so. Further on, a text that is
        # not the name it should be would stop all.
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            record = _LINES.decode(line)
            _check(record)
            yield record


def _check(record: Read) -> None:
    """ValueError if there is nothing to be made of it."""
    if isinstance(record, EpochRecord):
        for name in (*record.weights, *filter(None, [record.baseline])):
            Branch(name)
        return
    RequestId(record.request_id)
    datetime.fromisoformat(record.ts)
    if isinstance(record, Answered):
        Branch(record.branch)
        Branch(record.assigned)
        if record.unit is not None:
            Unit(record.unit)
