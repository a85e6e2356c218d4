"""The holder gives up chunks whose replicas do not come back, and keeps where each was cut.

Owns the order: the state goes ahead of the cut, so that nobody leads any more who counted further
by an older one, and the cut stands in the state before the chunk counts as ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.chunks import ChunkKey
from gateway.shared.cutting import Absence, cut_off
from gateway.shared.door import Door
from gateway.shared.held import Lease
from gateway.shared.mirroring import Mirror
from gateway.store.ledger import Ledger

_CUTS, _INTENDED = "cut chunks", "chunks to cut"


class StoredCuts:
    """Where chunks were cut, in the holder's store; `Cuts` of its mirror."""

    def __init__(self, store: Ledger) -> None:
        self._store = store
        self._known = {_key(name): int(cut.decode()) for name, cut in store.recall(_CUTS).items()}

    def known(self) -> Mapping[ChunkKey, int]:
        return self._known

    def learn(self, key: ChunkKey, cut: int) -> None:
        self._store.remember({(_CUTS, str(key)): str(cut).encode(), (_INTENDED, str(key)): None})
        self._known[key] = cut


class GivingUp:
    """One tenure's part in it."""

    def __init__(
        self, door: Door, lease: Lease, store: Ledger, is_kept: Callable[[str], bool], after: float
    ) -> None:
        """`is_kept` says of a writer that a replica that is there has chunks of it; `after` so many
        seconds without one a chunk is given up.
        """
        self._door = door
        self._lease = lease
        self._store = store
        self._is_kept = is_kept
        self._absence = Absence(after, time.monotonic)
        self._intended: set[ChunkKey] = set()

    def look(self, mirror: Mirror, folder: Path) -> None:
        """To be called when all that is stored is in Redis; `folder` is the mirror's."""
        for key, cut in mirror.to_cut.items():
            self._door.cut(self._lease, key, cut)
        for key, size in self._absence.look(mirror.held, self._is_kept).items():
            if key in self._intended:
                cut_off(self._door, self._lease, key, size, folder, self._store.reaches(key))
            else:
                # Another state than any other's: it is in Redis when this is called again.
                said = self._lease.nonce.encode()
                self._store.remember({(_INTENDED, str(key)): said})
                self._intended.add(key)


def _key(name: str) -> ChunkKey:
    writer, _, number = name.partition("/")
    return ChunkKey(writer, int(number))
