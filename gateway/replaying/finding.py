"""Finds recorded requests among the segments of a repository, and says where it looked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from gateway.errors import RepositoryError
from gateway.layout import SegmentPath, parse_path
from gateway.monitoring.published import Choose, Contents, Published, sources_of
from gateway.names import Branch, RequestId
from gateway.naming import few
from gateway.replaying.recorded import Recorded, parse_segment
from gateway.timestamps import rfc3339

#: A chunk that was opened so much later than a request was made cannot hold it, if clocks agree.
_LATENCY = timedelta(minutes=10)
_MOST_NAMED = 8

#: Told how many segments were read.
Reading = Callable[[int], None]


class NoSuchRow(RepositoryError):
    """The row is not in the repository as it is now; the message says where it was looked for."""


@dataclass(slots=True)
class Looked:
    """What was read of the repository so far."""

    branches: list[Branch] = field(default_factory=list)
    segments: int = 0
    rows: int = 0
    since: str = ""
    until: str = ""
    bad: list[str] = field(default_factory=list)

    def read(self, requests: Iterable[Recorded]) -> None:
        for one in requests:
            self.rows += len(one.rows)
            self.since = min(filter(None, (self.since, one.ts)))
            self.until = max(self.until, one.ts)

    def __str__(self) -> str:
        if not self.branches:
            return "no branch of the repository holds prediction rows"
        named = few(self.branches, _MOST_NAMED)
        rows = f"{self.rows:,} row{'s' * (self.rows != 1)}"
        segments = f"{self.segments:,} segment{'s' * (self.segments != 1)}"
        span = f", from {self.since} to {self.until}" if self.rows else ""
        return f"{rows} in {segments} of {named}{span}"


class Finder:
    """Looks through one opened repository; `looked` says at what."""

    def __init__(self, published: Published, reading: Reading = lambda _: None) -> None:
        self.looked = Looked()
        self._published = published
        self._reading = reading
        self._seen: set[str] = set()
        self._holders = dict(sorted(published.holders("predictions").items()))
        self.looked.branches = list(self._holders)

    def request(self, request_id: RequestId) -> list[Recorded]:
        """All that is recorded of a request, of the branch that answered first, then of shadows.

        First where a request of its time belongs, then everywhere, and last in what was deleted.
        NoSuchRow.
        """
        for choose in (lambda paths: likely(paths, request_id), self._unseen):
            if found := self._all_of(request_id, choose):
                return found
        trouble = ""
        try:
            if found := self._deleted(request_id):
                return found
        except RepositoryError as error:
            trouble = f" What git's history has could not be looked at: {error}."
        raise NoSuchRow(self._nowhere(request_id) + trouble)

    def _all_of(self, request_id: RequestId, choose: Choose) -> list[Recorded]:
        segments = (
            requests
            for branch, heads in self._holders.items()
            for requests in self._segments(branch, heads, choose)
        )
        return _of(request_id, segments)

    def _deleted(self, request_id: RequestId) -> list[Recorded]:
        """In the segments that were deleted, as far as they are of its time."""
        deleted = self._published.deleted("predictions", lambda paths: likely(paths, request_id))
        return _of(request_id, self._parsed(deleted))

    def newest(
        self, rows: int, of: Collection[Branch], without: Branch | None = None
    ) -> list[Recorded]:
        """The last answered requests with so many rows at most, at least one, oldest first.

        Of the branches `of`, or if none is named of all; not of `without`, and of no shadow.
        NoSuchRow if there is none.
        """
        if unknown := [branch for branch in of if branch not in self._holders]:
            raise NoSuchRow(f"there are no rows of {', '.join(unknown)}; there is {self.looked}")
        found: list[Recorded] = []
        for branch, heads in self._holders.items():
            if branch != without and (not of or branch in of):
                found += self._newest_of(branch, heads, rows)
        found.sort(key=lambda one: (one.request_id, one.branch), reverse=True)
        kept: list[Recorded] = []
        total = 0
        for one in found:
            if kept and total + len(one.rows) > rows:
                break
            kept.append(one)
            total += len(one.rows)
        if not kept:
            besides = f" besides those of {without} itself" if without else ""
            raise NoSuchRow(f"no request that was answered is recorded{besides}: {self.looked}")
        return kept[::-1]

    def _newest_of(self, branch: Branch, heads: list[Branch], rows: int) -> Iterator[Recorded]:
        own = [source for source in sources_of(branch) if source in heads]
        total = 0
        for requests in self._segments(branch, own or heads, lambda paths: paths[::-1]):
            for one in requests:
                if one.answered and one.reason != "shadow":
                    total += len(one.rows)
                    yield one
            # Chunks of several writers overlap in time; this many more are enough for most.
            if total >= 2 * rows:
                return

    def _segments(
        self, branch: Branch, heads: Iterable[Branch], choose: Choose
    ) -> Iterator[list[Recorded]]:
        own = sources_of(branch)
        sources = sorted(heads, key=lambda head: own.index(head) if head in own else -1)
        return self._parsed(self._published.contents(branch, "predictions", sources, choose))

    def _parsed(self, contents: Contents) -> Iterator[list[Recorded]]:
        for path, content in contents:
            self._seen.add(path)
            segment = parse_segment(path, content)
            self.looked.segments += 1
            self.looked.bad += segment.bad
            self.looked.read(segment.requests)
            self._reading(self.looked.segments)
            yield segment.requests

    def _unseen(self, paths: list[str]) -> list[str]:
        return [path for path in paths if path not in self._seen]

    def _nowhere(self, request_id: RequestId) -> str:
        made = rfc3339(request_id.milliseconds / 1000)
        said = f"no row of request {request_id}, made {made}. Looked at: {self.looked}."
        if not self.looked.rows:
            return said
        if made > self.looked.until:
            why = (
                "It is newer than all of them: rows are published at each `monitoring.flush`"
                " (15m), and only of the gateway that follows this repository"
            )
        elif made < self.looked.since:
            why = (
                "It is older than all of them, and not in the segments of its time that"
                " `monitoring.retention` (14d) deleted, as far as git's history has them"
            )
        else:
            why = (
                "Of answered requests `monitoring.sample_rows` (500) are kept of each flush and"
                " branch: `all` keeps every one from then on"
            )
        return f"{said} {why}."


def _of(request_id: RequestId, segments: Iterable[list[Recorded]]) -> list[Recorded]:
    """The request's, of the branch that answered first."""
    found = [one for requests in segments for one in requests if one.request_id == request_id]
    return sorted(found, key=lambda one: (one.reason == "shadow", one.branch))


def likely(paths: list[str], request_id: RequestId) -> list[str]:
    """Where the request is if no clock was turned: of each writer the chunk that was open then,
    and those that were opened while it may have been answered."""
    made = datetime.fromtimestamp(request_id.milliseconds / 1000, UTC)
    last: dict[str, str] = {}
    after = []
    for path in paths:
        parsed = parse_path(path)
        if parsed is None:
            continue
        opened = _opened(parsed)
        if opened <= made:
            last[parsed.key.writer] = path
        elif opened <= made + _LATENCY:
            after.append(path)
    return [*last.values(), *after]


def _opened(path: SegmentPath) -> datetime:
    time = datetime.strptime(path.time, "%H%M%S").time()
    return datetime.combine(path.day, time, UTC)
