"""What the watcher follows, by the kind of the repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.repositories.arrivals import Arrivals, Bounds
from gateway.repositories.folder import Folder
from gateway.repositories.folder_arrivals import FolderArrivals
from gateway.repositories.git import Git
from gateway.repositories.remembered import Remembered
from gateway.repositories.snapshots import Snapshots
from gateway.repositories.worktree import WorkTrees


def repository_of(
    place: str | Folder, state: Path, snapshots: Snapshots, environment: Mapping[str, str]
) -> Arrivals | FolderArrivals:
    """A git repository at an address, or a folder; `environment` is that of git's children."""
    remembered = Remembered(state / "branches.json")
    if isinstance(place, Folder):
        trees = WorkTrees(environment)
        return FolderArrivals(place, trees, snapshots, remembered, Bounds())
    return Arrivals(
        Git(state / "git" / "read", place, environment), snapshots, remembered, Bounds()
    )
