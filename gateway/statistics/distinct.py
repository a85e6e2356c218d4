"""How many different units a window saw, in bounded memory, whatever it is merged with.

The smallest hashes of a set say how large it is (k minimum values: Bar-Yossef et al. 2002; the
estimate (k - 1) / U(k) is that of Beyer et al. 2007, without bias). Units are keyed hashes already.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

#: Exact up to here; beyond it the standard error is 1 / sqrt(k), 1.6 %.
MOST = 4096

Hashes = npt.NDArray[np.uint64]
_SPACE = 2.0**64


class Distinct:
    """A set of 64-bit hashes, of which the smallest are kept. Merging equals having seen all."""

    __slots__ = ("_kept",)

    def __init__(self, kept: Hashes | None = None) -> None:
        self._kept: Hashes = np.empty(0, dtype=np.uint64) if kept is None else kept

    def add(self, hashes: Iterable[int]) -> None:
        """Integers from 0 to 2**64 - 1."""
        self._keep(np.fromiter(hashes, dtype=np.uint64))

    def merge(self, other: Distinct) -> None:
        self._keep(other._kept)

    def _keep(self, hashes: Hashes) -> None:
        if len(self._kept) == MOST:
            hashes = hashes[hashes < self._kept[-1]]
        if len(hashes):
            self._kept = np.unique(np.concatenate((self._kept, hashes)))[:MOST]

    @property
    def count(self) -> float:
        """How many different ones there were; exact below MOST."""
        if len(self._kept) < MOST:
            return float(len(self._kept))
        return (MOST - 1) / ((float(self._kept[-1]) + 1.0) / _SPACE)

    def state(self) -> bytes:
        return self._kept.tobytes()

    @classmethod
    def restored(cls, state: bytes) -> Distinct:
        return cls(np.frombuffer(state, dtype=np.uint64))
