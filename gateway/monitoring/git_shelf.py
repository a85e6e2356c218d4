"""Segments in git: one commit on the branch's tip, pushed by compare-and-swap.

Never a merge commit, never a change outside monitoring/ and logs/.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from gateway.errors import MissingRef, RepositoryError, StaleTip
from gateway.layout import Segment
from gateway.monitoring.commits import Wording, build, obstacle, paths_of
from gateway.monitoring.shelf import View
from gateway.names import Branch, Commit
from gateway.repositories.git import DamagedCache, Git

_SLIM_EVERY = 32


class GitShelf:
    """A `Shelf` over a write cache of its own."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._pushed: dict[Branch, Commit] = {}
        self._publications = 0
        self._cache_bytes = 0

    def open(self) -> None:
        """Ready the cache."""
        self._git.prepare()

    def close(self) -> None:
        """End running git children."""
        self._git.close()

    def place(self, branch: Branch) -> str:
        """Its ref."""
        return branch.ref

    def look(self, branch: Branch) -> View | None:
        """The branch's tip, fetched; None if it is certainly not on the remote."""
        try:
            tip = self._git.fetch_tip(branch)
        except MissingRef:
            # A tip that was replaced between listing and fetching is missing in the same words.
            if branch in self._git.heads():
                raise StaleTip(f"{branch} moved while it was read") from None
            return None
        return View(tip, paths_of(self._git, tip))

    def put(
        self,
        branch: Branch,
        view: View | None,
        segments: Sequence[Segment],
        deleted: Collection[str],
        now: datetime,
        wording: Wording,
    ) -> str:
        """One commit on the tip that was seen; its id."""
        tip = Commit(view.version) if view is not None else None
        obstacle(view.paths if view is not None else (), segments)
        commit = build(self._git, tip, segments, deleted, now, wording)
        self._git.push(commit, branch.ref, tip)
        self._pushed[branch] = commit
        return commit

    def slim(self, most_bytes: int) -> None:
        """Only the last commits are held in the write cache, and a grown one is rebuilt.

        Works at some calls. Nothing in it is worth keeping: the next fetch brings the tip's trees
        again.
        """
        self._publications += 1
        if self._publications % _SLIM_EVERY:
            return
        kept = [commit for commit in self._pushed.values() if self._git.has(commit)]
        for commit in kept:
            self._git.fetch(commit)
        self._git.forget_all_but(kept)
        self._cache_bytes = self._git.stored_bytes()
        if self._cache_bytes > most_bytes:
            self._pushed.clear()
            self._git.rebuild()
            self._cache_bytes = 0

    def cache_status(self) -> dict[str, int]:
        """How large the write cache was when last looked at, and how often it was begun anew."""
        return {"bytes": self._cache_bytes, "rebuilds": self._git.rebuilds}

    def mend(self, error: RepositoryError) -> None:
        """A damaged cache is begun anew."""
        if isinstance(error, DamagedCache):
            self._git.rebuild()
