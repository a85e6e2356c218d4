"""Chunks whose replica does not come back: ended where Redis has them, so that they are published.

Owns when that is, where such a chunk ends, and what becomes of the rest if its replica comes back
all the same: a chunk of its own, which follows from the chunk and its cut alone. So each line is
in one of the two, whoever dies when. Each cut is for ever: it is learned with the holder's state
before the chunk counts as ended, and told to its replica when that asks.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from gateway.chunks import ChunkKey
from gateway.shared.held import Held, Lease

log = logging.getLogger(__name__)

#: Fronts count from 1 and never come so far.
_RESTS_FROM = 1_000_000_000
#: What every chunk says before the rows that need it.
_REPEATED = frozenset({"schema", "epoch"})


class _Kind(msgspec.Struct):
    t: str


class CutDoor(Protocol):
    """What of `Door` is needed here."""

    def cut(self, lease: Lease, key: ChunkKey, at: int, size: int | None = None) -> bool: ...


class Absence:
    """Which open chunks nobody was seen to write or keep for how long."""

    def __init__(self, after: float, clock: Callable[[], float]) -> None:
        """`after` seconds a chunk is given up; a new holder begins to count anew."""
        self._after = after
        self._clock = clock
        self._since: dict[ChunkKey, tuple[int, float]] = {}

    def look(
        self, held: Mapping[ChunkKey, Held], is_kept: Callable[[str], bool]
    ) -> dict[ChunkKey, int]:
        """Those that are given up, with their sizes; `is_kept` says of a writer that some replica
        that is there has chunks of it.
        """
        now = self._clock()
        seen = {
            key: (one.size, now)
            for key, one in held.items()
            if not one.sealed and not is_kept(key.writer)
        }
        for key, (size, since) in self._since.items():
            if key in seen and seen[key][0] == size:
                seen[key] = size, since
        self._since = seen
        return {key: size for key, (size, since) in seen.items() if now - since >= self._after}


def cut_off(
    door: CutDoor, lease: Lease, key: ChunkKey, size: int, folder: Path, taken: float
) -> bool:
    """End a chunk of `size` bytes in Redis behind its last whole line; False without the lease.

    Nothing happens unless its copy in `folder` is all of it, or if more was `taken` of it than
    that: counted of what Redis had before it was emptied.
    """
    try:
        copy = (folder / key.file).with_suffix(".open").read_bytes()
    except FileNotFoundError:
        return True
    end = copy.rfind(b"\n") + 1
    if len(copy) != size or taken > end:
        return True
    log.warning("chunk %s ends at byte %d: its replica has not come back", key, end)
    return door.cut(lease, key, end, size)


def keep_rest(file: Path, key: ChunkKey, cut: int) -> None:
    """What is in the sealed chunk `file` from byte `cut` on becomes a sealed chunk beside it."""
    data = file.read_bytes()
    if not data[cut:]:
        return
    rest = ChunkKey(key.writer, key.number + _RESTS_FROM)
    path = file.with_name(Path(rest.file).name)
    beside = path.with_suffix(".rest")
    with beside.open("wb") as opened:
        opened.write(_rest(data, cut, rest.number))
        opened.flush()
        os.fsync(opened.fileno())
    beside.rename(path)
    log.warning("chunk %s was published without its end, which is %s now", key, rest)


def _rest(data: bytes, cut: int, number: int) -> bytes:
    header, *lines = data[:cut].splitlines(keepends=True)
    said = {**json.loads(header), "chunk": number}
    repeated = [line for line in lines if _kind(line) in _REPEATED]
    first = json.dumps(said, separators=(",", ":")).encode() + b"\n"
    return b"".join([first, *repeated, data[cut:]])


def _kind(line: bytes) -> str | None:
    try:
        return msgspec.json.decode(line, type=_Kind).t
    except msgspec.MsgspecError:
        return None
