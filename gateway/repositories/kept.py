"""What a branch served last, from this machine's disks alone; the same for every repository."""

from __future__ import annotations

from gateway.names import Branch
from gateway.repositories.move import Move
from gateway.repositories.remembered import LastGood, Remembered
from gateway.repositories.snapshots import Lease, Snapshots


def last_good(
    snapshots: Snapshots, remembered: Remembered, branch: Branch, model: str | None
) -> tuple[Move, Lease] | None:
    """The move to it, its snapshot leased; None if it is not there, or of another `model`."""
    last = remembered.get(branch)
    if last is None or last.model != model or not snapshots.has(last.fingerprint):
        return None
    lease = snapshots.lease(last.fingerprint)
    return move_of(branch, last, lease), lease


def move_of(branch: Branch, good: LastGood, lease: Lease) -> Move:
    """The move to remembered content whose snapshot is leased."""
    return Move(branch, good.tip, good.commit, good.commit_known, good.fingerprint, lease.root)
