"""What the watcher follows, by the kind of the repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.repositories.arrivals import Arrivals, Bounds
from gateway.repositories.credentials import Credentials
from gateway.repositories.folder_arrivals import FolderArrivals
from gateway.repositories.git import Git
from gateway.repositories.kind import folder_of
from gateway.repositories.remembered import Remembered
from gateway.repositories.snapshots import Snapshots
from gateway.repositories.worktree import WorkTrees

Following = Arrivals | FolderArrivals


def repository_of(
    address: str,
    state: Path,
    environment: Mapping[str, str],
    credentials: Credentials,
    *,
    snapshot_bytes: int,
) -> Following:
    """The repository at an address that `kind.located` gave; `environment` is git's children's."""
    bounds = Bounds(snapshot_bytes=snapshot_bytes)
    snapshots, remembered = Snapshots(state / "snapshots"), Remembered(state / "branches.json")
    folder = folder_of(address)
    if folder is not None:
        return FolderArrivals(folder, WorkTrees(environment), snapshots, remembered, bounds)
    git = Git(state / "git" / "read", address, environment, credentials=credentials)
    return Arrivals(git, snapshots, remembered, bounds)
