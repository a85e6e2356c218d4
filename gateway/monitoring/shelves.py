"""Which shelf the monitor's settings mean."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.monitoring.folder_shelf import FolderShelf
from gateway.monitoring.git_shelf import GitShelf
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.monitoring.shelf import Shelf
from gateway.repositories.git import Git
from gateway.repositories.kind import folder_of

_GIT_DEADLINE = 60.0


def shelf_of(settings: MonitorSettings, environ: Mapping[str, str]) -> Shelf:
    """The repository's; `environ` is all that git's children inherit, if there are any."""
    folder = folder_of(settings.repository)
    if folder is not None:
        return FolderShelf(folder)
    cache = settings.state_dir / "git" / "write"
    known = settings.credentials
    git = Git(cache, settings.repository, environ, deadline=_GIT_DEADLINE, credentials=known)
    return GitShelf(git)
