"""What happens when a branch has moved: fetch, fingerprint, snapshot, provenance; then a Move.

Synchronous and thread-safe: several branches arrive at once. When to look and what to do about
failures is the watcher's.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from gateway.errors import ContentError, RepositoryError
from gateway.names import Branch, Commit, Fingerprint
from gateway.repositories.authorship import QUESTION, Authorships
from gateway.repositories.content import write_content
from gateway.repositories.fingerprint import SERVED, fingerprint, served_entries
from gateway.repositories.git import DamagedCache, Git
from gateway.repositories.kept import last_good, move_of
from gateway.repositories.lfs import clear_lfs
from gateway.repositories.move import Move
from gateway.repositories.provenance import follows, provenance
from gateway.repositories.remembered import LastGood, Remembered
from gateway.repositories.snapshots import Lease, Snapshots
from gateway.repositories.trees import Entry
from gateway.repositories.vouching import Vouching

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds a listing, a download and the search for provenance may take; bytes of a snapshot,
    and of the cache before it is begun anew."""

    listing: float = 20.0
    download: float = 1800.0
    provenance: float = 5.0
    snapshot_bytes: int = 10 * 1024**3
    cache_bytes: int = 1024**3


class Arrivals:
    """One repository's cache, snapshots and memory, and the way from a tip to a Move."""

    def __init__(
        self,
        git: Git,
        snapshots: Snapshots,
        remembered: Remembered,
        bounds: Bounds,
        clock: Callable[[], float] = time.monotonic,
        authors: Authorships | None = None,
        vouching: Vouching | None = None,
    ) -> None:
        self.authors = authors or Authorships()
        self._git = git
        self._vouching = vouching
        self.snapshots = snapshots
        self._remembered = remembered
        self._bounds = bounds
        self._clock = clock
        self._guard = threading.Lock()
        self._users = 0
        self._cache_bytes = 0

    def open(self) -> None:
        """Ready the cache, the snapshots and the memory; what a crash left is cleared."""
        self.snapshots.open()
        self._remembered.load()
        clear_lfs(self._git.cache)
        self._git.prepare()

    def bound(self, snapshot_bytes: int) -> None:
        """From now on a snapshot may have this many bytes; those that are there stay."""
        self._bounds = replace(self._bounds, snapshot_bytes=snapshot_bytes)

    def close(self) -> None:
        """End what runs: calls in other threads raise soon."""
        self._git.close()
        if self._vouching is not None:
            self._vouching.close()

    def objection(self, branch: Branch, found: Fingerprint) -> str | None:
        """Why content of an earlier run must not be served again, from disk alone; None if it may.

        Also before `open`.
        """
        return self._vouching.objection(branch, found) if self._vouching is not None else None

    def heads(self, wanted: Iterable[Branch] = ()) -> dict[Branch, Commit]:
        """The remote's branches and their tips, wanted or not."""
        return self._healed(lambda: self._git.heads(deadline=self._bounds.listing))

    def next_look(self, poll: float) -> float:
        """A ref moves whole: nothing is to be looked at twice."""
        return poll

    def waits(self, branch: Branch) -> str | None:
        """A branch's tip is always known."""
        return None

    def last_good(self, branch: Branch, model: str | None) -> tuple[Move, Lease] | None:
        """What the branch served last, from disk alone; None if that is not there."""
        last = self._remembered.get(branch)
        if last is not None and (why := self.objection(branch, last.fingerprint)) is not None:
            log.warning("what it served before is not: %s", why, extra={"branch": branch})
            return None
        return last_good(self.snapshots, self._remembered, branch, model)

    def take(self, branch: Branch, tip: Commit, model: str | None) -> tuple[Move, Lease]:
        """The branch's content at `tip`, its snapshot built and leased.

        ContentError if the commit cannot be served, ContentAway if not yet; MissingRef if the tip
        is gone again; RemoteUnavailable if the remote fails.
        """
        try:
            with self._recycled():
                return self._healed(lambda: self._take(branch, tip, model))
        except DamagedCache as damage:
            raise ContentError(
                f"git cannot read this commit, even from a new cache: {damage.message}",
                where=_place(branch, tip),
            ) from damage

    def settle(self, branch: Branch, move: Move, deadline: float) -> Move | None:
        """Look for the provenance of a move that came without; None if it stays unknown."""
        with self._recycled():
            return self._healed(lambda: self._settle(branch, move, deadline))

    def _settle(self, branch: Branch, move: Move, deadline: float) -> Move | None:
        last = self._remembered.get(branch)
        if last is None or last.fingerprint != move.fingerprint:
            return None
        self._git.fetch(move.tip, deadline=deadline)
        entries = self._git.ls_paths(move.tip, SERVED)
        commit, known = self._search(move.tip, entries, deadline)
        if not known:
            return None
        settled = LastGood(move.tip, commit, known, move.fingerprint, last.model)
        self._remembered.put(branch, settled)
        self._note_author(commit)
        return replace(move, commit=commit, commit_known=True, settling=False)

    def read_file(self, tip: Commit, path: str, most_bytes: int) -> bytes | None:
        """The beginning of a plain file of the commit, at most so long; None if there is none."""
        with self._recycled():
            return self._healed(lambda: self._read_file(tip, path, most_bytes))

    def read_at_tip(
        self, branch: Branch, path: str, most_bytes: int
    ) -> tuple[Commit, bytes | None]:
        """The branch's present tip and what `read_file` says of it; MissingRef if it is gone."""
        tip = self._healed(lambda: self._git.fetch_tip(branch, deadline=self._bounds.listing))
        return tip, self.read_file(tip, path, most_bytes)

    def _read_file(self, tip: Commit, path: str, most_bytes: int) -> bytes | None:
        self._git.fetch(tip, deadline=self._bounds.listing)
        entries = self._git.ls_paths(tip, [path])
        if [entry.plain for entry in entries] != [True]:
            return None
        self._git.prefetch([entries[0].oid], deadline=self._bounds.listing)
        with self._git.blobs(deadline=self._bounds.listing) as reader:
            return reader.beginning(entries[0].oid, most_bytes)

    def cache_status(self) -> dict[str, int]:
        """How large the cache was when it was last looked at, and how often it was begun anew."""
        return {"bytes": self._cache_bytes, "rebuilds": self._git.rebuilds}

    @contextlib.contextmanager
    def _recycled(self) -> Iterator[None]:
        """Use the cache; one that has grown is begun anew first, when nobody else is in it.

        Snapshots hold what is served: all that the cache keeps can be fetched again.
        """
        with self._guard:
            if not self._users:
                self._cache_bytes = self._git.stored_bytes()
                if self._cache_bytes > self._bounds.cache_bytes or self._git.crowded:
                    self._git.rebuild()
                    self._cache_bytes = 0
            self._users += 1
        try:
            yield
        finally:
            with self._guard:
                self._users -= 1

    def tidy(self, tips: Iterable[Commit]) -> None:
        """Forget what is neither served nor among the last few."""
        self._git.forget_all_but(tips)
        self.snapshots.prune()

    def _take(self, branch: Branch, tip: Commit, model: str | None) -> tuple[Move, Lease]:
        where = _place(branch, tip)
        self._git.fetch(tip, deadline=self._bounds.download)
        entries = served_entries(self._git, tip, model, where=where)
        found = fingerprint(entries)
        if self._vouching is not None:
            bound = self._bounds.download
            self._vouching.require(
                self._git, branch, tip, entries, found, deadline=bound, where=where
            )

        def write(target: Path) -> None:
            write_content(
                self._git,
                tip,
                [entry.path for entry in entries if entry.path in SERVED],
                target,
                most_bytes=self._bounds.snapshot_bytes,
                deadline=self._bounds.download,
                where=where,
            )

        lease = self.snapshots.build(found, write)
        last = self._remembered.get(branch)
        try:
            if last is not None and last.fingerprint == found:
                good = replace(self._called(tip, entries, last), model=model)
            else:
                good = LastGood(tip, tip, False, found, model)
            self._remembered.put(branch, good)
            self._note_author(good.commit)
        except BaseException:
            lease.release()
            raise
        settling = last is None or last.fingerprint != found
        return replace(move_of(branch, good, lease), settling=settling), lease

    def _note_author(self, commit: Commit) -> None:
        def ask() -> bytes | None:
            with contextlib.suppress(RepositoryError):  # a commit of before, in a newer cache
                return self._git.run([*QUESTION, commit])
            return None

        self.authors.note(commit, ask)

    def _called(self, tip: Commit, entries: Iterable[Entry], last: LastGood) -> LastGood:
        """A quiet move's tip, and the commit that brought its content."""
        if last.commit_known and follows(self._git, tip, last.tip):
            return replace(last, tip=tip)
        commit, known = self._search(tip, entries, self._bounds.provenance)
        if last.commit_known and not known:
            # History is too long or away; what was found once is the better answer.
            commit, known = last.commit, True
        return replace(last, tip=tip, commit=commit, commit_known=known)

    def _search(
        self, tip: Commit, entries: Iterable[Entry], deadline: float
    ) -> tuple[Commit, bool]:
        try:
            return provenance(self._git, tip, entries, deadline=deadline, clock=self._clock)
        except DamagedCache:
            raise
        except RepositoryError:
            # Serving does not wait for history; `settle` asks again.
            return tip, False

    def _healed(self, attempt: Callable[[], Result]) -> Result:
        generation = self._git.generation
        try:
            return attempt()
        except DamagedCache:
            self._git.rebuild(generation)
            return attempt()


def _place(branch: Branch, tip: Commit) -> str:
    return f"{branch} at {tip}"
