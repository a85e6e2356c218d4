"""What is followed, whatever its kind: a git repository, or a folder of sub-folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from gateway.errors import RepositoryError
from gateway.names import Branch, Commit
from gateway.repositories.move import Move
from gateway.repositories.snapshots import Lease

#: By branch: the tip, None as long as a first one is not known, or why it cannot be asked for.
Heads = Mapping[Branch, Commit | RepositoryError | None]


class Repository(Protocol):
    """The watcher's view of it. Called in threads, several branches at once."""

    def open(self) -> None: ...

    def close(self) -> None:
        """End what runs: calls in other threads raise soon."""

    def heads(self, wanted: Iterable[Branch]) -> Heads:
        """Of these branches and perhaps others: the tips of those that are there.

        None as long as a first one is not known; the error of one that alone cannot be asked for.
        """
        ...

    def next_look(self, poll: float) -> float:
        """Seconds until `heads` is worth calling again, where it is usually called each `poll`."""
        ...

    def waits(self, branch: Branch) -> str | None:
        """Why a branch that changed has no newer tip, if so."""
        ...

    def last_good(self, branch: Branch, model: str | None) -> tuple[Move, Lease] | None:
        """What the branch served last, from this machine's disks alone."""
        ...

    def take(self, branch: Branch, tip: Commit, model: str | None) -> tuple[Move, Lease]:
        """The branch's content at `tip`, its snapshot leased; ContentError, RepositoryError.

        Of a move that is `settling` the provenance is not known yet, and worth a call of `settle`.
        """
        ...

    def settle(self, branch: Branch, move: Move, deadline: float) -> Move | None:
        """The move with its provenance, if that is found this time."""
        ...

    def tidy(self, tips: Iterable[Commit]) -> None:
        """Forget what is neither at these tips nor served."""

    def read_file(self, tip: Commit, path: str, most_bytes: int) -> bytes | None:
        """The beginning of a plain file at a tip, at most so long; None if there is none."""
        ...

    def read_at_tip(
        self, branch: Branch, path: str, most_bytes: int
    ) -> tuple[Commit, bytes | None]:
        """The branch's present tip and what `read_file` says of it; MissingRef."""
        ...

    def bound(self, snapshot_bytes: int) -> None:
        """From now on a snapshot may have this many bytes; those that are there stay."""

    def cache_status(self) -> dict[str, int] | None:
        """Bytes and rebuilds of the cache, if there is one."""
        ...
