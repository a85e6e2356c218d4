"""The copy of all replicas' chunks that the holder works on: files that follow Redis, byte by byte.

Owns the coming and going of `<writer>/<number>.open` and `.jsonl` below one folder, laid out as a
front's journal is. A file only grows by what Redis has behind its end, so that a killed mirror
goes on where it stopped. What Redis says becomes paths here, and so it is checked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.chunks import ChunkKey
from gateway.shared.door import SharedAway
from gateway.shared.held import Held, Shipped

log = logging.getLogger(__name__)

_PIECE = 1024 * 1024
#: Of one step, so that its thread stays free for what else is to be done.
_STEP_BYTES = 16 * 1024 * 1024
#: What a call without bytes takes of that.
_CALL = 4 * 1024
#: Of either end: compared before a file that was here is believed to be what its name says.
_COMPARED = 4 * 1024
_NAME = re.compile(r"([0-9a-f]{8})/(\d{8,15})\.(?:open|jsonl)")


class Reads(Protocol):
    """What is needed of the door."""

    def ship(
        self, key: ChunkKey, offset: int, data: bytes, *, sealed: bool, cap: int
    ) -> Shipped: ...

    def chunks(self) -> dict[ChunkKey, Held]: ...

    def read(self, key: ChunkKey, offset: int, most: int) -> bytes: ...


class Cuts(Protocol):
    """Where chunks were cut, kept with what is counted of them: so that a chunk that is taken as
    ended has the same end for whoever counts it later.
    """

    def known(self) -> Mapping[ChunkKey, int]: ...

    def learn(self, key: ChunkKey, cut: int) -> None:
        """It is on the disk afterwards."""
        ...


class _Changed(Exception):
    """Redis has not what it had when the step began: the next step sees what it has."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a chunk's file is, or would be."""

    sealed: Path

    @property
    def opened(self) -> Path:
        return self.sealed.with_suffix(".open")

    @property
    def is_aside(self) -> bool:
        """A reader found it to be no chunk, and left it to a person."""
        return self.sealed.with_suffix(".unreadable").exists()

    def size(self) -> tuple[int, bool]:
        """Its bytes, and whether it is sealed."""
        for path in (self.sealed, self.opened):
            with contextlib.suppress(FileNotFoundError):
                return path.stat().st_size, path is self.sealed
        return 0, False

    def remove(self) -> None:
        self.sealed.unlink(missing_ok=True)
        self.opened.unlink(missing_ok=True)


class Mirror:
    """One folder. Used by one thread; only the holder's grows."""

    def __init__(
        self, door: Reads, folder: Path, *, wanted: Callable[[ChunkKey], bool] = lambda key: False
    ) -> None:
        """`wanted` says of a chunk that is done that its file is still to be read here."""
        self.trouble: str | None = None
        #: Chunks in Redis whose files were put aside here: nobody will ever be done with them.
        self.aside: frozenset[ChunkKey] = frozenset()
        #: What Redis had at the last step, as far as it counts.
        self.held: dict[ChunkKey, Held] = {}
        #: Chunks of which Redis has more than counts, or does not know that they were cut.
        self.to_cut: dict[ChunkKey, int] = {}
        self._door = door
        self._folder = folder
        self._wanted = wanted
        self._left = 0
        #: How many bytes Redis had of those that are known to be the same here and there.
        self._same: dict[ChunkKey, int] = {}
        self._refused: set[ChunkKey] = set()

    def step(
        self,
        stop: Callable[[], bool],
        cuts: Cuts,
        is_settled: Callable[[ChunkKey], bool] = lambda key: False,
    ) -> bool:
        """Bring what is lacking but what `is_settled`, remove what is done.

        Whether all is here that Redis had when the step began.
        """
        self.trouble = None
        self._left = _STEP_BYTES
        try:
            held = self.held = self._ended(self._checked(self._door.chunks()), cuts)
            self._same = {key: size for key, size in self._same.items() if key in held}
            self.aside = frozenset(key for key in held if self._place(key).is_aside)
            wanted = {key: one for key, one in held.items() if not is_settled(key)}
            is_all = self._bring_all(wanted, stop)
            self._remove_done(held, stop)
        except SharedAway as error:
            self.trouble = f"chunks of other replicas wait: {error}"
            return False
        return is_all

    def tidy(self, stop: Callable[[], bool]) -> None:
        """Remove what is done, of a replica that is the holder no more."""
        self._left = _STEP_BYTES
        with contextlib.suppress(SharedAway):
            self._remove_done(self._door.chunks(), stop)

    def _checked(self, held: dict[ChunkKey, Held]) -> dict[ChunkKey, Held]:
        """Without those that name no chunk, and so a path anywhere."""
        good = {key: one for key, one in held.items() if _NAME.fullmatch(key.file)}
        refused = held.keys() - good.keys()
        for key in refused - self._refused:
            log.error("Redis holds a chunk of no writer's, passed over: %r", str(key))
        self._refused = refused
        return good

    def _ended(self, held: dict[ChunkKey, Held], cuts: Cuts) -> dict[ChunkKey, Held]:
        """As far as each counts, which is known before anything more is here.

        A Redis that was emptied may hold more again of one that was cut.
        """
        known = cuts.known()
        for key, one in held.items():
            if one.cut is not None and key not in known:
                cuts.learn(key, one.cut)
        known = cuts.known()
        ended = {key: one.ending_at(known.get(key)) for key, one in held.items()}
        self.to_cut = {key: known[key] for key, one in ended.items() if one != held[key]}
        return ended

    def _place(self, key: ChunkKey) -> _Place:
        return _Place(self._folder / key.file)

    # What is lacking

    def _bring_all(self, held: dict[ChunkKey, Held], stop: Callable[[], bool]) -> bool:
        """Whole chunks first: they are what can be published, and makes room."""
        is_all = True
        for key in sorted(held, key=lambda key: (not held[key].sealed, key)):
            if key in self.aside:
                continue
            if stop() or self._left <= 0:
                return False
            try:
                is_all &= self._bring(key, held[key], stop)
            except _Changed:
                is_all = False
        return is_all

    def _bring(self, key: ChunkKey, held: Held, stop: Callable[[], bool]) -> bool:
        place = self._place(key)
        size, is_sealed = place.size()
        if size and self._is_other(key, held, place):
            log.warning("the copy of chunk %s was of another one, and is begun anew", key)
            place.remove()
            size, is_sealed = 0, False
        if held.size:
            self._same[key] = held.size
        # One that is sealed, or has more than Redis, stays: that was emptied, and is told again.
        if not is_sealed and (size < held.size or held.sealed):
            return self._grow(key, held, place, size, stop)
        return True

    def _grow(
        self, key: ChunkKey, held: Held, place: _Place, size: int, stop: Callable[[], bool]
    ) -> bool:
        place.opened.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with place.opened.open("ab") as file:
            while size < held.size:
                if stop() or self._left <= 0:
                    return False
                data = self._read(key, size, min(_PIECE, held.size - size))
                file.write(data)
                size += len(data)
            if held.sealed:
                # Its length is all that a later start judges it by.
                file.flush()
                os.fsync(file.fileno())
        if held.sealed:
            place.opened.rename(place.sealed)
        return True

    def _is_other(self, key: ChunkKey, held: Held, place: _Place) -> bool:
        """Is the file not the beginning of this chunk, nor the chunk that of the file?"""
        size, is_sealed = place.size()
        if (held.sealed and size > held.size) or (is_sealed and size < held.size):
            return True
        if self._same.get(key, held.size + 1) <= held.size:
            return False
        common = min(size, held.size)
        with (place.sealed if is_sealed else place.opened).open("rb") as file:
            for start in {0, max(common - _COMPARED, 0)}:
                most = min(_COMPARED, common - start)
                file.seek(start)
                if most and file.read(most) != self._read(key, start, most):
                    return True
        return False

    def _read(self, key: ChunkKey, offset: int, most: int) -> bytes:
        data = self._door.read(key, offset, most)
        self._left -= len(data) + _CALL
        if len(data) != most:
            raise _Changed
        return data

    # What is done

    def _remove_done(self, held: dict[ChunkKey, Held], stop: Callable[[], bool]) -> None:
        for path in sorted(self._folder.glob("*/*")):
            name = _NAME.fullmatch(f"{path.parent.name}/{path.name}")
            if name is None:
                continue
            key = ChunkKey(name[1], int(name[2]))
            if key in held or self._wanted(key):
                continue
            if stop() or self._left <= 0:
                return
            # Not only gone: a Redis that was emptied may get it from nobody else any more.
            if self._is_done(key):
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    path.parent.rmdir()  # only an empty one goes

    def _is_done(self, key: ChunkKey) -> bool:
        """Ask without sending: behind a gap nothing is taken."""
        self._left -= _CALL
        return self._door.ship(key, 1, b"", sealed=False, cap=0).done
