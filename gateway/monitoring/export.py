"""The flat files of the seed layout, as a view: one branch's rows of a kind as one CSV stream.

Reads a git remote through a cache of its own that lives as long as the stream, or a folder's files;
writes nothing there. Memory is bounded by a few segments, however many rows there are.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from gateway.errors import ContentError, MissingRef
from gateway.layout import Kind, kind_folder, parse_path
from gateway.monitoring.folder_shelf import FolderShelf
from gateway.monitoring.publisher import side_branch
from gateway.monitoring.segments import COLUMNS
from gateway.names import Branch
from gateway.repositories.credentials import Credentials
from gateway.repositories.folder import Folder
from gateway.repositories.git import Git
from gateway.repositories.trees import Entry

Place = TypeVar("Place")
#: The paths of segments and what they hold.
Contents = Iterator[tuple[str, bytes]]

_FETCHED = 256
_READ = 8


def export(
    repository: str | Folder,
    branch: Branch,
    kind: Kind,
    environ: Mapping[str, str],
    credentials: Credentials | None = None,
) -> Iterator[bytes]:
    """The header once, then every row of the branch and of its side branch.

    In the order of the segments' times; rows of chunks written at once by two writers are not
    interleaved. Raises MissingRef if neither branch is in the repository, RemoteUnavailable.
    """
    header = (",".join(COLUMNS[kind]) + "\n").encode()
    read = (
        _from_folder(repository, branch, kind)
        if isinstance(repository, Folder)
        else _from_git(repository, branch, kind, environ, credentials)
    )
    with read as contents:
        yield header
        for path, content in contents:
            if not content.startswith(header):
                raise ContentError(
                    "its columns are not a segment's: someone changed it", where=path
                )
            yield content[len(header) :]


@contextlib.contextmanager
def _from_git(
    repository: str,
    branch: Branch,
    kind: Kind,
    environ: Mapping[str, str],
    credentials: Credentials | None,
) -> Iterator[Contents]:
    with tempfile.TemporaryDirectory(prefix="gateway-export-") as folder:
        git = Git(Path(folder) / "cache", repository, environ, credentials=credentials)
        git.prepare()
        found: dict[str, Entry] = {}
        missing = []
        for source in _sources(branch):
            try:
                tip = git.fetch_tip(source)
            except MissingRef:
                missing.append(source)
                continue
            listed = git.ls_tree(tip, _folder_of(kind, branch), recursive=True)
            found |= {entry.path: entry for entry in listed}
        _require_one(missing, branch)
        yield _blobs(git, [entry for _, entry in _in_time(found)])


def _blobs(git: Git, segments: list[Entry]) -> Contents:
    for start in range(0, len(segments), _FETCHED):
        fetched = segments[start : start + _FETCHED]
        git.prefetch(entry.oid for entry in fetched)
        for few in range(0, len(fetched), _READ):
            # Read whole before the first is handed on: a slow reader must not hold a git process.
            with git.blobs() as blobs:
                read = [(e.path, blobs.read(e.oid)) for e in fetched[few : few + _READ]]
            yield from read


@contextlib.contextmanager
def _from_folder(folder: Folder, branch: Branch, kind: Kind) -> Iterator[Contents]:
    shelf = FolderShelf(folder)
    found: dict[str, Branch] = {}
    missing = []
    for source in _sources(branch):
        view = shelf.look(source)
        if view is None:
            missing.append(source)
            continue
        below = f"{_folder_of(kind, branch)}/"
        found |= {path: source for path in view.paths if path.startswith(below)}
    _require_one(missing, branch)
    yield (
        (path, content)
        for path, source in _in_time(found)
        # Nothing by now: retention deleted it.
        if (content := shelf.read(source, path)) is not None
    )


def _sources(branch: Branch) -> tuple[Branch, Branch]:
    """The branch last: where both hold a path, its own is the one that counts."""
    return side_branch(branch), branch


def _folder_of(kind: Kind, branch: Branch) -> str:
    return f"{kind_folder(kind)}/{branch.folder}"


def _require_one(missing: list[Branch], branch: Branch) -> None:
    if len(missing) == len(_sources(branch)):
        raise MissingRef(f"the repository has neither {branch} nor {side_branch(branch)}")


def _in_time(found: Mapping[str, Place]) -> list[tuple[str, Place]]:
    """The segments among the paths, in order."""
    ours = [(parsed.order, path) for path in found if (parsed := parse_path(path))]
    return [(path, found[path]) for _, path in sorted(ours)]
