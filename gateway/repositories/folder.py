"""The door to a mounted folder: which of its sub-folders are branches, and opening what is below.

`Folder` knows whether the mount is there; the functions walk from an open folder downwards and
follow no symbolic link. Nothing is cached here.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import RemoteUnavailable
from gateway.names import Branch
from gateway.repositories.patience import Patience

#: The sub-folder of what branches do not take themselves.
ASIDE = "gateway-monitoring"
#: What the gateway writes into a branch.
WRITTEN = ("monitoring", "logs")
_PATIENCE = 20.0


class Folder:
    """A folder with one sub-folder a branch. `patience` bounds every call into the mount."""

    def __init__(self, path: Path, patience: Patience | None = None) -> None:
        self.path = path.absolute()
        self.patience = patience or Patience(_PATIENCE, str(self.path))

    def __str__(self) -> str:
        return str(self.path)

    def require(self) -> None:
        """RemoteUnavailable if the folder is not there, or as empty as a mount point."""
        with reading(self.path), os.scandir(self.path) as entries:
            if any(_is_visible(entry.name) and _is_folder(entry) for entry in entries):
                return
        raise RemoteUnavailable(
            "it holds no sub-folder at all: is it mounted?", where=str(self.path)
        )

    def root_of(self, branch: Branch) -> Path | None:
        """The branch's sub-folder free of symbolic links; None if it is not there or holds nothing.

        A link is resolved this once: if it is swapped meanwhile, all that is read is the old.
        """
        root = Path(os.path.realpath(self.path / branch))
        with reading(root):
            try:
                with opened(root) as descriptor:
                    names = names_in(descriptor)
            except (FileNotFoundError, NotADirectoryError):
                return None
        # What is only ours is not a branch: the mount of this one may be away.
        return root if any(_is_visible(name) and name not in WRITTEN for name in names) else None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A mount of its own, which does not answer: it is there all the same.
        return True


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name != ASIDE


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """What the system says of the mount becomes RemoteUnavailable."""
    try:
        yield
    except OSError as error:
        # Relative to an open folder the system knows only the last part of a name.
        part = error.filename
        name = f"{part} " if isinstance(part, str) and part != str(path) else ""
        raise RemoteUnavailable(
            f"{name}cannot be read: {error.strerror}", where=str(path)
        ) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """A folder's descriptor."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def names_in(folder: int) -> list[str]:
    """What an open folder holds, in order."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries)


def open_file(folder: int, name: str) -> int:
    """A descriptor of what is called so in an open folder, for reading; OSError if it is a link.

    Opening asks a network mount anew, where looking alone may be answered from memory.
    """
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)


@contextlib.contextmanager
def file_opened(folder: int, name: str) -> Iterator[int]:
    """`open_file`, closed at the end."""
    descriptor = open_file(folder, name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_below(folder: int, path: str, *, make: bool = False) -> Iterator[int]:
    """The descriptor of the folder `path` below an open one; a link on the way is none.

    With `make`, folders that are not there are made.
    """
    descriptor = os.dup(folder)
    try:
        for part in path.split("/") if path else ():
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=descriptor)
            inner = _open_folder(descriptor, part)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def file_below(folder: int, path: str) -> Iterator[int]:
    """The descriptor of the file `path` below an open folder, for reading; else OSError."""
    above, _, name = path.rpartition("/")
    with opened_below(folder, above) as inner, file_opened(inner, name) as descriptor:
        yield descriptor


def _open_folder(folder: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            # The same as Linux says of a link where a folder is asked for.
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from error
        raise
