"""A branch's files for the monitor, whatever kind of repository they lie in.

Three places: the snapshot the front serves from, which is nearest; the branch in git, at a commit;
the branch's sub-folder of a mounted folder.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from gateway.errors import ContentError
from gateway.names import Branch, Commit
from gateway.repositories.data import BranchData
from gateway.repositories.folder import Folder, file_below, opened, reading
from gateway.repositories.patience import Beat

_PIECE = 1 << 20


class BranchFiles(Protocol):
    """Reads one file of a branch. Each call raises ContentError or RepositoryError."""

    def identity(self, branch: Branch, tip: Commit, path: str) -> str:
        """A text that changes when the file does; without reading the file."""
        ...

    def write(
        self, branch: Branch, tip: Commit, path: str, target: Path, most_bytes: int
    ) -> dict[str, Any]:
        """Write it to `target`; where it came from, as a reference's `source` says it."""
        ...


class GitFiles:
    """Files at a commit, or at the commit that a submodule is pinned to."""

    def __init__(self, data: BranchData) -> None:
        self._data = data
        self._is_open = False

    def _opened(self) -> BranchData:
        if not self._is_open:
            self._data.open()
            self._is_open = True
        return self._data

    def identity(self, branch: Branch, tip: Commit, path: str) -> str:
        return self._opened().identity(branch, tip, path)

    def write(
        self, branch: Branch, tip: Commit, path: str, target: Path, most_bytes: int
    ) -> dict[str, Any]:
        source = self._opened().write(branch, tip, path, target, most_bytes=most_bytes)
        return {"path": path, "commit": str(source.commit), "sha256": source.sha256}


class FolderFiles:
    """Files as they lie in a branch's sub-folder now."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def identity(self, branch: Branch, tip: Commit, path: str) -> str:
        def look(beat: Beat) -> str:
            with self._opened(branch, path) as file:
                status = os.fstat(file)
                return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"

        return self._folder.patience.call(f"{branch}/{path}", look)

    def write(
        self, branch: Branch, tip: Commit, path: str, target: Path, most_bytes: int
    ) -> dict[str, Any]:
        def copy(beat: Beat) -> None:
            with self._opened(branch, path) as file, target.open("wb") as copied:
                size = os.fstat(file).st_size
                if size > most_bytes:
                    raise ContentError(
                        f"{path} has {size} bytes, and at most {most_bytes} are read", where=branch
                    )
                while piece := os.read(file, _PIECE):
                    copied.write(piece)
                    beat()

        self._folder.patience.call(f"{branch}/{path}", copy)
        return {"path": path}

    @contextlib.contextmanager
    def _opened(self, branch: Branch, path: str) -> Iterator[int]:
        root = self._folder.root_of(branch)
        if root is None:
            raise ContentError("its sub-folder is not there", where=branch)
        with reading(root), opened(root) as descriptor:
            try:
                with file_below(descriptor, path) as file:
                    yield file
            except (FileNotFoundError, NotADirectoryError):
                raise ContentError(f"no {path}", where=branch) from None
