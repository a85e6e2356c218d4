"""What the monitor remembers between chunks and across its own deaths.

The one contract of every store: each call happens wholly or not at all, and repeating one changes
nothing. Which file or server keeps it is the implementations' business; `tests/store` holds them
all to this page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from gateway.chunks import ChunkKey
from gateway.layout import Segment
from gateway.names import Branch

#: What is counted: a tuple of words whose first says the kind of count.
Name = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Push:
    """The last monitoring commit of a branch that the remote took."""

    ts: str
    ref: str
    commit: str
    segments: int
    rows: int


@dataclass(frozen=True, slots=True)
class Publication:
    """How publishing to one branch stands.

    `diverted` is why the rows go to the side branch although the branch is their target: refused
    under the settings of stamp `diverted_under`, or, without one, not on the remote at the last
    look. `attempt` is the ref of a push whose end is not known: it may have arrived.
    """

    diverted: str | None = None
    diverted_under: str | None = None
    attempt: str | None = None
    last_push: Push | None = None
    failed_ts: str | None = None
    failure: str | None = None


class Outgoing(NamedTuple):
    """A segment that the store holds, without what is in it."""

    key: ChunkKey
    branch: Branch
    path: str
    size: int


class Store(Protocol):
    """Opened by `with`; used by one process and thread."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def add_counts(self, key: ChunkKey, part: str, counts: Mapping[Name, int]) -> bool:
        """Add the counts of one part of a chunk; False, and nothing, if it was added before."""
        ...

    def has(self, key: ChunkKey, part: str) -> bool:
        """Was this part of the chunk added, or taken?"""
        ...

    def recall(self, room: str) -> dict[str, bytes]:
        """All that is remembered in a room, by name."""
        ...

    def remember(
        self,
        changes: Mapping[tuple[str, str], bytes | None],
        *,
        taken: tuple[ChunkKey, str] | None = None,
        outgoing: Iterable[Segment] = (),
    ) -> bool:
        """Change, all at once, what stands under (room, name), None taking it away.

        `taken` is the part of a chunk that the changes come from: False, and nothing, if it was
        taken before. `outgoing` are segments that come from no chunk of a front.
        """
        ...

    def outgoing(self) -> list[Outgoing]:
        """Those that were handed in and are not `forget`-ten, by key; cheap, however large."""
        ...

    def segments(self, key: ChunkKey, branch: Branch) -> list[Segment]:
        """The branch's `outgoing` ones of one key."""
        ...

    def totals(self, kind: str) -> dict[Name, int]:
        """The sums of every name whose first word is `kind`."""
        ...

    def confirm(self, keys: Iterable[ChunkKey], branch: Branch, ref: str, commit: str) -> None:
        """Remember that everything these chunks say of the branch is in git, at `commit`."""
        ...

    def confirmed(self, key: ChunkKey) -> dict[Branch, tuple[str, str]]:
        """Ref and commit of each branch of the chunk that is confirmed."""
        ...

    def forget(self, key: ChunkKey) -> None:
        """The chunk is gone: its confirmations are no longer asked for, nor its `outgoing`.

        Its counts stay counted.
        """
        ...

    def publication(self, branch: Branch) -> Publication: ...

    def set_publication(self, branch: Branch, publication: Publication) -> None: ...
