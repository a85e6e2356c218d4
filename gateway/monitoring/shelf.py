"""Where segments are put: the one seam between what is published and the kind of repository.

`git_shelf` commits and pushes, `folder_shelf` writes files. Which branch takes what, and what is
done about failures, is the publisher's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.errors import RepositoryError
from gateway.layout import Segment
from gateway.monitoring.commits import Wording
from gateway.names import Branch


@dataclass(frozen=True, slots=True)
class View:
    """A branch as it was seen: every path below monitoring/ and logs/, ours or not.

    `version` is the commit it was seen at; empty where there are none.
    """

    version: str
    paths: Collection[str]


class Shelf(Protocol):
    """Takes segments into branches. Each call raises RepositoryError; not thread-safe."""

    def open(self) -> None:
        """Ready it, before anything else."""

    def close(self) -> None:
        """End what runs, from any thread: calls raise RemoteUnavailable soon."""

    def place(self, branch: Branch) -> str:
        """What people call the place where the branch's segments lie."""
        ...

    def look(self, branch: Branch) -> View | None:
        """The branch as it is now; None if it is certainly not there."""
        ...

    def put(
        self,
        branch: Branch,
        view: View | None,
        segments: Sequence[Segment],
        deleted: Collection[str],
        now: datetime,
        wording: Wording,
    ) -> str:
        """Add the segments and take the deleted paths away; the version in which they are.

        `wording` is who says it and how, where that is kept. `view` is what `look` said; without
        one the branch is begun. StaleTip: it is another by now.
        PushRefused: not allowed, waiting will not help. RemoteUnavailable: the end is not known,
        and repeating it is harmless.
        """
        ...

    def slim(self, most_bytes: int) -> None:
        """Keep what it stores on this machine small; called after each publication."""

    def cache_status(self) -> dict[str, int] | None:
        """Bytes and rebuilds of what it stores on this machine, if it stores anything."""
        ...

    def mend(self, error: RepositoryError) -> None:
        """Repair what the error says is broken on this machine, if anything."""
