"""Which kind of repository gateway.yaml means: a git repository, or a mounted folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from gateway.config.addresses import FOLDER, is_address
from gateway.errors import RemoteUnavailable
from gateway.names import Branch
from gateway.repositories.folder import Folder
from gateway.repositories.patience import Patience

#: Seconds that a mount has to answer what is there, before the gateway starts without it.
_PATIENCE = 10.0


def located(repository: str, branches: Iterable[Branch], formerly: str | None = None) -> str:
    """The repository's address, which is `folder://…` where it is a folder.

    A plain path is one if it is an existing folder, no git repository, and holds the sub-folder of
    one of the branches at least. `formerly` is what this said in an earlier run: a mount that is
    away, or empty, is what it was then.
    """
    if is_address(repository):
        return repository
    path = Path(repository)
    address = f"{FOLDER}{path}"
    try:
        patience = Patience(_PATIENCE, repository)
        if patience.call("the folder", lambda _: _is_git(path)):
            return repository
        held = patience.call("the folder", lambda _: any((path / b).is_dir() for b in branches))
    except (OSError, RemoteUnavailable):
        # A mount that does not answer.
        held = False
    return address if held or formerly == address else repository


def former_address(settings: Path) -> str | None:
    """What `located` said when the monitor's settings were written; None if that is not known."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(settings.read_bytes())["repository"])
    return None


def folder_of(address: str) -> Folder | None:
    """The folder at an address that `located` gave; None if it is git's."""
    if not address.startswith(FOLDER):
        return None
    return Folder(Path(address.removeprefix(FOLDER)))


def _is_git(path: Path) -> bool:
    bare = all((path / name).exists() for name in ("HEAD", "objects", "refs"))
    return bare or (path / ".git").exists() or path.is_file()
