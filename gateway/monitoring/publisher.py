"""Segments come to their branch, or to its side branch, exactly once.

Owns which of the two takes a branch's rows, retries where it moved meanwhile, and what the store
remembers of both. Decides nothing about when: the monitor does; how they are put there is the
shelf's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Literal

from gateway.chunks import ChunkKey
from gateway.errors import MissingRef, PushRefused, StaleTip
from gateway.layout import Segment
from gateway.monitoring.commits import Wording, expired
from gateway.monitoring.shelf import Shelf
from gateway.names import Branch
from gateway.store import Publication, Push, Store
from gateway.timestamps import rfc3339

Target = Literal["branch", "side-branch"]
_TRIES = 6
_FIRST_PAUSE = 0.05
_LONGEST_NAME = 170


def side_branch(branch: Branch) -> Branch:
    """The orphan branch that takes the rows the branch itself does not.

    Flat: git has no room for gateway-monitoring/exp beside gateway-monitoring/exp/sub, also where
    the one branch replaced the other. Branches that share one by their names disturb each other no
    more than two writers do, since segments lie in a folder for each branch.
    """
    name = branch.replace("/", "+")
    if len(name.encode()) > _LONGEST_NAME:
        digest = blake2b(branch.encode(), digest_size=4).hexdigest()
        name = f"{name.encode()[:_LONGEST_NAME].decode(errors='ignore')}+{digest}"
    return Branch(f"gateway-monitoring/{name}")


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings a publication depends on; `stamp` differs whenever they were written anew."""

    target: Target
    retention: timedelta
    stamp: str
    wording: Wording = field(default_factory=Wording)

    def tries(self, publication: Publication) -> Target:
        """Where the next push goes: a refusal holds until settings or front are new."""
        return "side-branch" if publication.diverted_under == self.stamp else self.target

    def in_force(self, publication: Publication) -> Target:
        """Where the rows go as far as is known; a deleted branch is asked for again each time."""
        held = publication.diverted_under in (None, self.stamp)
        return "side-branch" if publication.diverted and held else self.target


@dataclass(slots=True)
class _Arrivals:
    """The segments of one publication, and where each was seen or put."""

    segments: Sequence[Segment]
    places: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def missing(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.path not in self.places]

    def saw(self, paths: Collection[str], ref: str, commit: str) -> None:
        self.put([segment for segment in self.missing if segment.path in paths], ref, commit)

    def put(self, segments: Sequence[Segment], ref: str, commit: str) -> None:
        self.places.update((segment.path, (ref, commit)) for segment in segments)

    def by_place(self) -> dict[tuple[str, str], set[ChunkKey]]:
        """The chunks of which everything arrived, by where it is."""
        pending = {segment.key for segment in self.missing}
        found: dict[tuple[str, str], set[ChunkKey]] = {}
        for segment in self.segments:
            if segment.key not in pending:
                found.setdefault(self.places[segment.path], set()).add(segment.key)
        return found


class Publisher:
    """Publishes one branch at a time; not thread-safe."""

    def __init__(
        self,
        shelf: Shelf,
        store: Store,
        *,
        now: Callable[[], datetime],
        pause: Callable[[float], None],
        jitter: Callable[[], float],
    ) -> None:
        """`pause` sleeps; `jitter` draws from [0, 1)."""
        self._shelf = shelf
        self._store = store
        self._now = now
        self._pause = pause
        self._jitter = jitter

    def publish(self, branch: Branch, segments: Sequence[Segment], policy: Policy) -> None:
        """Bring every segment to its branch, once, and confirm its chunk in the store.

        Segments that are there already are success. Raises RemoteUnavailable, StaleTip when the ref
        kept moving, or PushRefused when not even the side branch takes them; what arrived before
        that is confirmed, the rest is for the next call.
        """
        arrivals = _Arrivals(segments)
        try:
            self._bring(branch, arrivals, policy)
        finally:
            self._confirm(branch, arrivals)
        # Only now: a crash before this line makes the next call look where the push went.
        self._remember(branch, attempt=None)

    def _bring(self, branch: Branch, arrivals: _Arrivals, policy: Policy) -> None:
        target = policy.tries(self._store.publication(branch))
        side = side_branch(branch)
        self._look_back(branch, side if target == "side-branch" else branch, arrivals)
        if target == "branch":
            try:
                self._put(branch, branch, arrivals, policy)
            except PushRefused as error:
                self._divert(branch, f"refused: {error}", policy.stamp)
            except MissingRef:
                self._divert(branch, "deleted: the branch is not in the repository", None)
            else:
                self._remember(branch, diverted=None, diverted_under=None)
        if arrivals.missing:
            self._put(branch, side, arrivals, policy)

    def _confirm(self, branch: Branch, arrivals: _Arrivals) -> None:
        for (ref, commit), keys in arrivals.by_place().items():
            self._store.confirm(keys, branch, ref, commit)

    def _look_back(self, branch: Branch, goal: Branch, arrivals: _Arrivals) -> None:
        """A push whose end is unknown may have arrived at a ref that is not the goal any more."""
        attempt = self._store.publication(branch).attempt
        if attempt is None or attempt == goal.ref:
            return
        view = self._shelf.look(Branch(attempt.removeprefix("refs/heads/")))
        if view is not None:
            arrivals.saw(view.paths, attempt, view.version)

    def _put(self, branch: Branch, goal: Branch, arrivals: _Arrivals, policy: Policy) -> None:
        """Bring what is missing to `goal`, looking again when it moved meanwhile."""
        for attempt in range(_TRIES):
            try:
                self._put_once(branch, goal, arrivals, policy)
            except StaleTip:
                if attempt == _TRIES - 1:
                    raise
                self._pause(_FIRST_PAUSE * 2**attempt * (0.5 + self._jitter()))
            else:
                return

    def _put_once(self, branch: Branch, goal: Branch, arrivals: _Arrivals, policy: Policy) -> None:
        view = self._shelf.look(goal)
        if view is None and goal == branch:
            raise MissingRef(f"no branch {goal} in the repository")
        paths = view.paths if view is not None else ()
        if view is not None:
            arrivals.saw(paths, goal.ref, view.version)
        segments = arrivals.missing
        if not segments:
            return
        now = self._now()
        # First what was found: killed from here on, nobody would look where it is any more.
        self._confirm(branch, arrivals)
        # It stays also when this push is stale or refused: an earlier one may still arrive there.
        self._remember(branch, attempt=goal.ref)
        old = expired(paths, now, policy.retention)
        version = self._shelf.put(goal, view, segments, old, now, policy.wording)
        arrivals.put(segments, goal.ref, version)
        rows = sum(segment.rows for segment in segments)
        push = Push(rfc3339(now.timestamp()), goal.ref, version, len(segments), rows)
        self._remember(branch, last_push=push)

    def _divert(self, branch: Branch, reason: str, stamp: str | None) -> None:
        ts = rfc3339(self._now().timestamp())
        changes = {"failed_ts": ts, "failure": reason} if stamp else {}
        self._remember(branch, diverted=reason, diverted_under=stamp, **changes)

    def _remember(self, branch: Branch, **changes: Any) -> None:
        state = self._store.publication(branch)
        changed = replace(state, **changes)
        if changed != state:
            self._store.set_publication(branch, changed)
