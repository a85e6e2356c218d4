"""Which repository the monitor's settings mean, and its two doors."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.monitoring.drift.files import BranchFiles, FolderFiles, GitFiles
from gateway.monitoring.folder_shelf import FolderShelf
from gateway.monitoring.git_shelf import GitShelf
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.monitoring.shelf import Shelf
from gateway.repositories.data import BranchData
from gateway.repositories.git import Git
from gateway.repositories.kind import folder_of

_GIT_DEADLINE = 60.0


def doors_of(settings: MonitorSettings, environ: Mapping[str, str]) -> tuple[Shelf, BranchFiles]:
    """Where segments are put, and where a branch's files are read.

    `environ` is all that git's children inherit, if there are any.
    """
    folder = folder_of(settings.repository)
    if folder is not None:
        return FolderShelf(folder), FolderFiles(folder)
    caches = settings.state_dir / "git"
    known = settings.credentials
    git = Git(
        caches / "write", settings.repository, environ, deadline=_GIT_DEADLINE, credentials=known
    )
    return GitShelf(git), GitFiles(BranchData(git, caches / "submodules"))
