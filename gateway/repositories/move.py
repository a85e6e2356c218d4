"""What the watcher hands over: a branch stands at a tip, and this snapshot is what it serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.names import Branch, Commit, Fingerprint


@dataclass(frozen=True, slots=True)
class Move:
    """A branch's present content. A move with the fingerprint of the one before it is quiet.

    `commit` is the provenance of the content: the oldest first-parent commit with this
    fingerprint, or the tip as long as `commit_known` is false. While that is `settling`, the same
    move follows within seconds, with its provenance or without. `root` is the complete read-only
    snapshot directory.
    """

    branch: Branch
    tip: Commit
    commit: Commit
    commit_known: bool
    fingerprint: Fingerprint
    root: Path
    settling: bool = False
