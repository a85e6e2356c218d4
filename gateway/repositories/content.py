"""From a commit to files: what is served is written out, and what cannot be is refused by name.

Nothing here is run, unpickled or followed; refusals say what to do about them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from gateway.errors import ContentError
from gateway.names import Commit
from gateway.repositories.blobs import Blobs
from gateway.repositories.git import Git
from gateway.repositories.refusals import (
    HEAD_BYTES,
    is_lfs_pointer,
    lonely_dvc_pointer,
    refuse,
    too_large,
)
from gateway.repositories.trees import Entry

_LINK, _EXECUTABLE, _SUBMODULE = "120000", "100755", "160000"
_LINK_MOST_BYTES = 4096


def write_content(
    git: Git,
    commit: Commit,
    paths: Sequence[str],
    target: Path,
    *,
    most_bytes: int,
    deadline: float,
    where: str,
) -> None:
    """Write what the commit holds at and below `paths` into the empty directory `target`.

    Missing blobs are fetched in one batch. ContentError if anything in it is refused.
    """
    entries = list(
        {entry.path: entry for entry in git.ls_paths(commit, paths, recursive=True)}.values()
    )
    refuse([reason for entry in entries if (reason := _refusal(entry, entries))], where)
    git.prefetch([entry.oid for entry in entries], deadline=deadline)
    _refuse_too_large(git, entries, most_bytes, where)
    links = [entry for entry in entries if entry.mode == _LINK]
    with git.blobs(deadline=deadline) as reader:
        pointers = [
            entry.path
            for entry in entries
            if entry.mode != _LINK and _write_file(reader, entry, target, where)
        ]
        refuse([_pointer(path) for path in pointers], where)
        # Links come last: no file is ever written through one.
        for entry in links:
            _write_link(reader, entry, target, where)
    refuse([reason for entry in links if (reason := _escape(entry, target))], where)


def _refusal(entry: Entry, entries: Sequence[Entry]) -> str | None:
    parts = entry.path.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        return f"{entry.path!r} is not a path that may be written: remove it from the branch"
    if entry.mode == _SUBMODULE:
        return f"{entry.path} is a submodule, which is not served: commit its files themselves"
    cure = f"commit {entry.path.removesuffix('.dvc')} itself, or keep it in git-lfs"
    return lonely_dvc_pointer(entry.path, (other.path for other in entries), cure)


def _refuse_too_large(git: Git, entries: Sequence[Entry], most_bytes: int, where: str) -> None:
    known = git.sizes(entry.oid for entry in entries)
    reason = too_large({entry.path: known[entry.oid] for entry in entries}, most_bytes)
    refuse([reason] if reason else [], where)


def _write_file(reader: Blobs, entry: Entry, target: Path, where: str) -> bool:
    """Write one file; whether what was written is an LFS pointer."""
    path = target / entry.path
    head = bytearray()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = 0o555 if entry.mode == _EXECUTABLE else 0o444
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except (FileExistsError, NotADirectoryError):
        raise ContentError(f"{entry.path} is in the branch's tree twice", where=where) from None
    with os.fdopen(file, "wb") as sink:

        def write(piece: bytes) -> None:
            if len(head) < HEAD_BYTES:
                head.extend(piece[:HEAD_BYTES])
            sink.write(piece)

        size = reader.copy(entry.oid, write)
        sink.flush()
        os.fchmod(sink.fileno(), mode)
        os.fsync(sink.fileno())
    return is_lfs_pointer(size, bytes(head))


def _pointer(path: str) -> str:
    return (
        f"{path} is a git-lfs pointer, not the content itself, and git-lfs content is not fetched:"
        f" commit the file itself (git lfs untrack {PurePosixPath(path).name!r}, then add it again)"
    )


def _write_link(reader: Blobs, entry: Entry, target: Path, where: str) -> None:
    pointed = reader.read(entry.oid)
    if not pointed or len(pointed) > _LINK_MOST_BYTES or b"\0" in pointed:
        raise ContentError(f"{entry.path} is a symbolic link to no possible path", where=where)
    path = target / entry.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.fsdecode(pointed))
    except (FileExistsError, NotADirectoryError):
        raise ContentError(f"{entry.path} is in the branch's tree twice", where=where) from None


def _escape(entry: Entry, target: Path) -> str | None:
    path = target / entry.path
    pointed = path.readlink()
    inside = Path(os.path.realpath(target))
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(inside) or not real.exists():
        return (
            f"{entry.path} is a symbolic link to {str(pointed)!r}, which is not among what is"
            " served: commit the file itself in its place"
        )
    return None
