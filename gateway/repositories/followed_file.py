"""One file at a branch's tip, followed whether or not the branch is served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.names import Branch, Commit


@dataclass(slots=True)
class FollowedFile:
    """What the watcher knows of it. `changed(tip, content)` is called at every move of the branch.

    `content` is at most `most_bytes` long, or None where the tip has no such file. `trouble` says
    why the newest tip is not read yet.
    """

    branch: Branch
    path: str
    most_bytes: int
    changed: Callable[[Commit, bytes | None], None]
    tip: Commit | None = None
    trouble: str | None = None
    busy: bool = False
