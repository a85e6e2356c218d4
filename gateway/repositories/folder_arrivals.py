"""What happens when a branch's sub-folder has changed: looked at twice, copied; then a Move.

The counterpart of `arrivals` for a mounted folder. A sub-folder has a tip only once two looks
found the same; until then the former tip stands. What is copied is checked against what was seen,
so that a snapshot is never a mixture. Synchronous and thread-safe, as `arrivals` is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from gateway.errors import MissingRef, RemoteUnavailable, RepositoryError
from gateway.names import Branch, Commit, Fingerprint
from gateway.repositories.arrivals import Bounds
from gateway.repositories.authorship import Authorships
from gateway.repositories.copying import copy_found, read_beside
from gateway.repositories.fingerprint import absent_model, fingerprint, require_served
from gateway.repositories.folder import Folder
from gateway.repositories.kept import last_good, move_of
from gateway.repositories.listing import Listing
from gateway.repositories.move import Move
from gateway.repositories.patience import Beat
from gateway.repositories.refusals import refuse
from gateway.repositories.remembered import LastGood, Remembered
from gateway.repositories.snapshots import Lease, Snapshots
from gateway.repositories.subfolder import Settled, SubFolder
from gateway.repositories.trees import Entry
from gateway.repositories.worktree import WorkTrees

#: Seconds between two looks that may count as two, unless polls are closer still.
_APART = 1.0
#: The looks of a watcher are spread by a fifth; this much later they are apart even so.
_SPREAD = 1.3


class FolderArrivals:
    """One folder's snapshots and memory, and the way from a sub-folder to a Move."""

    def __init__(
        self,
        folder: Folder,
        trees: WorkTrees,
        snapshots: Snapshots,
        remembered: Remembered,
        bounds: Bounds,
        clock: Callable[[], float] = time.monotonic,
        authors: Authorships | None = None,
    ) -> None:
        self.authors = authors or Authorships()
        self._folder = folder
        self._trees = trees
        self.snapshots = snapshots
        self._remembered = remembered
        self._bounds = bounds
        self._clock = clock
        self._apart = _APART
        self._subs: dict[Branch, SubFolder] = {}
        self._guard = threading.Lock()

    def open(self) -> None:
        """Ready the snapshots and the memory; what a crash left is cleared."""
        self.snapshots.open()
        self._remembered.load()
        self._folder.patience.resume()

    def close(self) -> None:
        """Let go of what runs: calls in other threads raise soon."""
        self._folder.patience.close()
        self._trees.close()

    def objection(self, branch: Branch, found: Fingerprint) -> None:
        """Nobody signs a folder."""

    def bound(self, snapshot_bytes: int) -> None:
        """From now on a snapshot may have this many bytes: what is there is judged anew."""
        with self._guard:
            if snapshot_bytes != self._bounds.snapshot_bytes:
                self._bounds = replace(self._bounds, snapshot_bytes=snapshot_bytes)
                self._subs.clear()

    # Looking

    def heads(self, wanted: Iterable[Branch]) -> dict[Branch, Commit | RepositoryError | None]:
        """Those of the branches that are there: their tips, None while a first is not known.

        One that cannot be looked at has the error in its place. RemoteUnavailable if none can.
        """
        patience = self._folder.patience
        patience.call("the folder", lambda _: self._folder.require())
        found: dict[Branch, Commit | RepositoryError | None] = {}
        for branch in list(wanted):
            try:
                there = patience.call(f"the folder of {branch}", partial(self._look, branch))
            except RepositoryError as error:
                found[branch] = error
            else:
                if there is not None:
                    found[branch] = there.settled.tip if there.settled is not None else None
        errors = [error for error in found.values() if isinstance(error, RepositoryError)]
        if errors and len(errors) == len(found):
            raise errors[0]
        return found

    def next_look(self, poll: float) -> float:
        """Seconds until the next look is worth while: soon, as long as a branch is moving.

        Two looks that are to be equal are a tenth of a poll apart, at least a second. What goes on
        changing is looked at less and less often.
        """
        self._apart = min(poll, max(_APART, poll / 10))
        with self._guard:
            changes = [sub.changes for sub in self._subs.values() if sub.moving]
        if not changes:
            return poll
        doubled: float = self._apart * _SPREAD * 2 ** max(0, min(*changes, 20) - 2)
        return min(poll, doubled)

    def waits(self, branch: Branch) -> str | None:
        """Why the branch has no newer tip although it changed, in words."""
        with self._guard:
            sub = self._subs.get(branch)
        if sub is None or not sub.moving:
            return None
        return "the branch's folder is being written to: what it holds is loaded once it stands"

    def _look(self, branch: Branch, beat: Beat) -> SubFolder | None:
        root = self._folder.root_of(branch)
        with self._guard:
            if root is None:
                self._subs.pop(branch, None)
                return None
            if branch not in self._subs:
                most_bytes = self._bounds.snapshot_bytes
                self._subs[branch] = SubFolder(self._trees, most_bytes, self._clock)
            sub = self._subs[branch]
        sub.look(root, self._apart, beat)
        return sub

    # Taking

    def last_good(self, branch: Branch, model: str | None) -> tuple[Move, Lease] | None:
        """What the branch served last, from disk alone; None if that is not there."""
        return last_good(self.snapshots, self._remembered, branch, model)

    def take(self, branch: Branch, tip: Commit, model: str | None) -> tuple[Move, Lease]:
        """The branch's content at `tip`, its snapshot built and leased.

        ContentError if it cannot be served; MissingRef if it is another by now; RemoteUnavailable
        if it changes while it is copied, or the mount fails.
        """
        settled = self._at(branch, tip)
        where = f"{branch} at {tip}"
        refuse(settled.refusals, where)
        entries = _entries(settled.listing, model, where)
        found = fingerprint(entries)
        lease = self.snapshots.build(found, lambda target: self._copy(branch, settled, target))
        try:
            good = LastGood(tip, settled.version, True, found, model)
            self._remembered.put(branch, good)
            self._note_author(branch, settled.version)
        except BaseException:
            lease.release()
            raise
        return move_of(branch, good, lease), lease

    def settle(self, branch: Branch, move: Move, deadline: float) -> Move | None:
        """A folder has no history to search: what is known of a move is known at once."""
        return None

    def tidy(self, tips: Iterable[Commit]) -> None:
        """Forget what is neither served nor among the last few."""
        self.snapshots.prune()

    # The file beside what is served

    def read_file(self, tip: Commit, path: str, most_bytes: int) -> bytes | None:
        """The beginning of a file followed beside the content, at most so long; None without."""
        with self._guard:
            tips = [sub.settled for sub in self._subs.values() if sub.settled]
        for settled in tips:
            if settled.tip == tip:
                work = partial(read_beside, settled.listing, path, most_bytes)
                return self._folder.patience.call(f"{path} at {tip}", work)
        raise MissingRef(f"nothing is at {tip} by now", where=str(self._folder))

    def read_at_tip(
        self, branch: Branch, path: str, most_bytes: int
    ) -> tuple[Commit, bytes | None]:
        """The branch's tip and what `read_file` says of it, once the sub-folder stands still.

        MissingRef if it is not there; RemoteUnavailable if it is being written to all the time.
        """
        end = self._clock() + self._bounds.listing
        while self._clock() < end:
            found = self.heads([branch])
            if branch not in found:
                raise MissingRef(f"there is no sub-folder {branch}", where=str(self._folder))
            tip = found[branch]
            if isinstance(tip, Commit):
                return tip, self.read_file(tip, path, most_bytes)
            self._folder.patience.pause(self._apart)
        raise RemoteUnavailable(f"{branch} is being written to", where=str(self._folder))

    def cache_status(self) -> None:
        """There is no cache."""

    def _at(self, branch: Branch, tip: Commit) -> Settled:
        with self._guard:
            sub = self._subs.get(branch)
            settled = sub.settled if sub else None
        if settled is None or settled.tip != tip:
            raise MissingRef(f"{branch} is at another tip by now", where=str(self._folder))
        return settled

    def _note_author(self, branch: Branch, version: Commit) -> None:
        """Of what is checked out; a folder that is no work tree has nobody to name."""

        def ask() -> bytes | None:
            root = self._folder.root_of(branch)
            return self._trees.told(root, version) if root is not None else None

        with contextlib.suppress(RepositoryError):  # nothing that loading should wait for
            work = f"the commit of {branch}"
            self._folder.patience.call(work, lambda _: self.authors.note(version, ask))

    def _copy(self, branch: Branch, settled: Settled, target: Path) -> None:
        self._folder.patience.call(
            f"the copy of {branch}", lambda beat: copy_found(settled.listing, target, beat)
        )


def _entries(listing: Listing, model: str | None, where: str) -> list[Entry]:
    """What the fingerprint is made of: every file, and the configured model once more."""
    entries = listing.entries
    require_served((entry.path for entry in entries), where=where)
    if model is not None:
        named = [entry for entry in entries if entry.path == model]
        if not named:
            models = [entry.path for entry in entries if entry.path.startswith("models/")]
            raise absent_model(model, models, where=where)
        entries += named
    return entries
