"""Segments in a mounted folder: each appears whole, by a rename, below its branch's sub-folder.

Follows no symbolic link when it writes: one below the sub-folder would lead out of it, and the
sub-folder's own may be swapped, which would take the rows away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from gateway.errors import PushRefused, RemoteUnavailable, RepositoryError, StaleTip
from gateway.layout import Segment, parse_path
from gateway.monitoring.commits import Wording
from gateway.monitoring.shelf import View
from gateway.names import Branch
from gateway.repositories.folder import (
    ASIDE,
    WRITTEN,
    Folder,
    file_below,
    names_in,
    opened,
    opened_below,
    reading,
)
from gateway.repositories.patience import Beat

Result = TypeVar("Result")

_PART = ".part"
_PIECE = 1 << 20
_OLD = timedelta(days=1)
#: What another attempt does not help against.
_REFUSED = frozenset(
    {
        *(errno.EROFS, errno.EACCES, errno.EPERM),
        *(errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG),
    }
)
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})


class FolderShelf:
    """A `Shelf` over a folder with one sub-folder a branch; side branches are folders of it too."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def open(self) -> None:
        """Nothing is to be readied: the folder may be away."""

    def close(self) -> None:
        """Let go of calls that hang."""
        self._folder.patience.close()

    def place(self, branch: Branch) -> str:
        """Its sub-folder."""
        return str(self._folder.path / branch)

    def look(self, branch: Branch) -> View | None:
        """What its sub-folder holds now; None if that is not there."""
        paths = self._patient(branch, partial(self._paths, branch))
        return None if paths is None else View("", paths)

    def read(self, branch: Branch, path: str) -> bytes | None:
        """A segment that `look` saw; None if it is deleted by now."""
        return self._patient(branch, partial(self._content, branch, path))

    def put(
        self,
        branch: Branch,
        view: View | None,
        segments: Sequence[Segment],
        deleted: Collection[str],
        now: datetime,
        wording: Wording,
    ) -> str:
        """The segments one by one, then the deletions; a segment that is there stays as it is."""
        for path in (*deleted, *(segment.path for segment in segments)):
            if parse_path(path) is None:
                raise ValueError(f"not a segment's path: {path!r}")
        self._patient(branch, partial(self._change, branch, segments, deleted, now))
        return ""

    def slim(self, most_bytes: int) -> None:
        """Nothing of it is on this machine."""

    def cache_status(self) -> None:
        """There is no cache."""

    def mend(self, error: RepositoryError) -> None:
        """What is broken here is the mount's."""

    def _patient(self, branch: Branch, work: Callable[[Beat], Result]) -> Result:
        return self._folder.patience.call(f"the rows of {branch}", work)

    # Reading

    def _paths(self, branch: Branch, beat: Beat) -> frozenset[str] | None:
        self._folder.require()
        root = self._folder.path / branch if _is_aside(branch) else self._folder.root_of(branch)
        if root is None:
            return None
        with reading(root):
            try:
                with opened(root) as descriptor:
                    there = [name for name in names_in(descriptor) if name in WRITTEN]
                    return frozenset(
                        path for name in there for path in _below(descriptor, name, name, beat)
                    )
            except FileNotFoundError:
                return None

    def _content(self, branch: Branch, path: str, beat: Beat) -> bytes | None:
        root = self._folder.path / branch
        with reading(root):
            try:
                with opened(root) as descriptor, file_below(descriptor, path) as file:
                    return _whole(file, beat)
            except FileNotFoundError:
                return None

    # Writing

    def _change(
        self,
        branch: Branch,
        segments: Sequence[Segment],
        deleted: Collection[str],
        now: datetime,
        beat: Beat,
    ) -> None:
        self._folder.require()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._writing(branch))
            self._refuse_link(branch)
            top = stack.enter_context(opened(self._folder.path))
            root = stack.enter_context(opened_below(top, branch, make=_is_aside(branch)))
            for segment in segments:
                beat()
                folder, _, name = segment.path.rpartition("/")
                with opened_below(root, folder, make=True) as inner:
                    if not _is_there(inner, name):
                        _appear(inner, name, segment.content)
            for path in deleted:
                beat()
                _delete(root, path)
            for name in WRITTEN:
                _sweep(root, name, now, beat)

    def _refuse_link(self, branch: Branch) -> None:
        """Opening refuses it too; this finds the words."""
        way = self._folder.path
        for part in branch.split("/"):
            way /= part
            if way.is_symlink():
                raise PushRefused(
                    "it is a symbolic link: were it swapped, the rows would go with the old one",
                    where=str(way),
                )

    @contextlib.contextmanager
    def _writing(self, branch: Branch) -> Iterator[None]:
        """What the system says becomes the error that says whether waiting helps."""
        place = self.place(branch)
        try:
            yield
        except FileNotFoundError as error:
            raise StaleTip("it was taken away while it was written to", where=place) from error
        except NotADirectoryError as error:
            raise PushRefused(
                f"{error.filename} is a file or a symbolic link there, and segments need it as a"
                " folder",
                where=place,
            ) from error
        except OSError as error:
            family = PushRefused if error.errno in _REFUSED else RemoteUnavailable
            raise family(f"it cannot be written to: {error.strerror}", where=place) from error


def _is_aside(branch: Branch) -> bool:
    return branch.startswith(f"{ASIDE}/")


def _below(folder: int, name: str, path: str, beat: Beat) -> Iterator[str]:
    """Every path at and below `name`, but hidden ones; links are not followed."""
    beat()
    try:
        with opened_below(folder, name) as inner:
            names = names_in(inner)
            for other in names:
                if not other.startswith("."):
                    yield from _below(inner, other, f"{path}/{other}", beat)
    except NotADirectoryError:
        yield path
    except FileNotFoundError:
        return  # deleted meanwhile


def _whole(file: int, beat: Beat) -> bytes:
    pieces = []
    while piece := os.read(file, _PIECE):
        beat()
        pieces.append(piece)
    return b"".join(pieces)


def _is_there(folder: int, name: str) -> bool:
    """Whether the segment is; something else under its name is nobody's to replace."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise PushRefused(f"{name} is there, and is no file")
    return True


def _appear(folder: int, name: str, content: bytes) -> None:
    """The file is there whole, or not at all; a crash leaves what begins with a dot."""
    part = f".{name}{_PART}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(part, flags, 0o644, dir_fd=folder)
    try:
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=folder)
        raise
    _sync(folder)


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        # Not every network file system can; the rename is no less whole for it.
        if error.errno not in _NO_SYNC:
            raise


def _delete(root: int, path: str) -> None:
    """Delete a segment, and its day's folder with the last of them."""
    folder, _, name = path.rpartition("/")
    above, _, day = folder.rpartition("/")
    with contextlib.suppress(FileNotFoundError), opened_below(root, above) as outer:
        with opened_below(outer, day) as inner:
            os.unlink(name, dir_fd=inner)
        with contextlib.suppress(OSError):
            os.rmdir(day, dir_fd=outer)


def _sweep(root: int, top: str, now: datetime, beat: Beat) -> None:
    """Delete what crashes left: a part whose segment is there, or that nobody finished in a day."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), opened_below(root, top) as one:
        _sweep_below(one, top, (now - _OLD).timestamp(), beat)


def _sweep_below(folder: int, path: str, oldest: float, beat: Beat) -> None:
    beat()
    names = set(names_in(folder))
    for name in names:
        if name.startswith("."):
            whole = name[1:].removesuffix(_PART)
            if not name.endswith(_PART) or parse_path(f"{path}/{whole}") is None:
                continue
            made = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
            if whole in names or made < oldest:
                os.unlink(name, dir_fd=folder)
            continue
        with contextlib.suppress(NotADirectoryError), opened_below(folder, name) as inner:
            _sweep_below(inner, f"{path}/{name}", oldest, beat)
