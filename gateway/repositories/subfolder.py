"""One branch's sub-folder over time: when it stands still, and how what it then holds is called.

Keeps the looks so far; who looks, and when, is `folder_arrivals`'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.names import Commit
from gateway.repositories.digests import Digests
from gateway.repositories.listing import Listing, look
from gateway.repositories.patience import Beat
from gateway.repositories.worktree import WorkTrees, missing_submodules


@dataclass(frozen=True, slots=True)
class Settled:
    """A listing that two looks found. `version` is the commit, or digest, of what is served."""

    listing: Listing
    head: Commit | None
    tip: Commit
    version: Commit
    refusals: tuple[str, ...]


class SubFolder:
    """The looks at one sub-folder, by one thread at a time; others may read `settled`."""

    def __init__(self, trees: WorkTrees, most_bytes: int, clock: Callable[[], float]) -> None:
        self._trees = trees
        self._most_bytes = most_bytes
        self._clock = clock
        self._digests = Digests()
        self._latest: Listing | None = None
        self._since = 0.0
        self.settled: Settled | None = None
        #: How many looks in a row found something else than the one before.
        self.changes = 0

    @property
    def moving(self) -> bool:
        """Whether the last look found what is not settled yet."""
        return self.settled is None or self.settled.listing is not self._latest

    def look(self, root: Path, apart: float, beat: Beat) -> None:
        """Look once more; two looks count as two only `apart` seconds from one another."""
        begun = self._clock()
        head = self._trees.head(root)
        algorithm = None if head is None else "sha1" if len(head) == 40 else "sha256"
        latest = look(root, self._digests, self._most_bytes, algorithm, beat)
        if not latest.stands_since(self._latest):
            self.changes += 1
            self._latest, self._since = latest, self._clock()
            return
        self.changes = 0
        was_settled = not self.moving
        self._latest = latest
        if begun - self._since < apart:
            return
        before = self.settled
        if was_settled and before is not None and before.head == head:
            # The same under perhaps other names of the same bytes: these are there now.
            tip, version, refusals = before.tip, before.version, before.refusals
            self.settled = Settled(latest, head, tip, version, refusals)
        else:
            self.settled = self._called(latest, head)

    def _called(self, listing: Listing, head: Commit | None) -> Settled:
        refusals = listing.refusals
        if head is not None:
            tree = self._trees.tree(listing.root, head)
            refusals += tuple(missing_submodules(tree, listing))
            if not refusals and self._trees.holds(listing.root, tree, listing):
                return Settled(listing, head, head, head, ())
        tip, version = (Commit(listing.version(whole=whole)) for whole in (True, False))
        return Settled(listing, head, tip, version, refusals)
