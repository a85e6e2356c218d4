"""Which answered requests of a branch and chunk become rows in git, and how much each counts.

Whole requests with the smallest BLAKE2b of their id: the choice is independent of everything
that is measured, and any process makes the same one. Memory is bounded by the sample.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

from gateway.chunks import Request


def rank(request_id: str) -> int:
    """The place of a request in the order it is sampled in."""
    return int.from_bytes(blake2b(request_id.encode(), digest_size=16).digest())


@dataclass(slots=True)
class Sample:
    """Takes one branch's answered requests one by one; says at the end which to keep.

    With a limit of n rows, requests are kept in the order of their rank while their rows are at
    most n together; the first is kept whatever its size. `all` keeps every one.
    """

    limit: int | Literal["all"]
    rows: int = 0
    _held: list[tuple[int, int, Request]] = field(default_factory=list)
    _held_rows: int = 0

    def add(self, place: int, request: Request) -> None:
        """`place` is the record's in its chunk, different for each."""
        self.rows += request.rows
        if self.limit == "all":
            self._held.append((0, place, request))
            return
        heapq.heappush(self._held, (-rank(request.request_id), place, request))
        self._held_rows += request.rows
        # What ranks after n rows already held can never be kept, whoever comes later.
        while self._held_rows - self._held[0][2].rows >= self.limit:
            self._held_rows -= heapq.heappop(self._held)[2].rows

    def kept(self) -> tuple[list[tuple[int, Request]], float]:
        """The kept requests with their places, and the weight of each of their rows."""
        if self.limit == "all":
            return [(place, request) for _, place, request in self._held], 1.0
        kept: list[tuple[int, Request]] = []
        total = 0
        for _, place, request in sorted(self._held, key=lambda held: (-held[0], held[1])):
            if kept and total + request.rows > self.limit:
                break
            kept.append((place, request))
            total += request.rows
        kept.sort(key=lambda entry: entry[0])
        return kept, self.rows / total if total else 1.0
