"""The rows that are in a repository: of which branches there are some, and the segments of one.

Reads a git remote through a cache of its own that lives as long as the reading, or a folder's
files; writes nothing there. Memory is bounded by a few segments, however many rows there are.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from gateway.errors import ContentError, MissingRef
from gateway.layout import Kind, kind_folder, parse_path
from gateway.monitoring.folder_shelf import FolderShelf
from gateway.monitoring.publisher import side_branch
from gateway.monitoring.segments import COLUMNS
from gateway.names import Branch, Commit, InvalidName
from gateway.repositories.credentials import Credentials
from gateway.repositories.folder import WRITTEN, Folder, reading
from gateway.repositories.git import FETCH, Git
from gateway.repositories.history import bring_history, deleted_files
from gateway.repositories.patience import Beat
from gateway.repositories.trees import Entry

#: The paths of segments and what they hold.
Contents = Iterator[tuple[str, bytes]]
#: Of paths in the order of time: those to be read, in the order in which they are wanted.
Choose = Callable[[list[str]], Iterable[str]]

#: How many segments are brought at once: few first, for whoever wants no more.
_FIRST, _FETCHED = 8, 256
_READ = 8
#: Looks at a remote whose branches move while they are looked at.
_LOOKS = 3
#: How deep in a mounted folder a branch's own may lie: `team/exp` is two.
_DEPTH = 4


class Published(Protocol):
    """An opened repository."""

    def holders(self, kind: Kind) -> dict[Branch, list[Branch]]:
        """By branch that rows of a kind are of: the branches that hold them."""

    def contents(
        self, branch: Branch, kind: Kind, sources: Iterable[Branch], choose: Choose | None = None
    ) -> Contents:
        """The branch's segments in the sources, by time or as `choose` says; the later source
        counts where both have a path. MissingRef if none of them is in the repository."""

    def deleted(self, kind: Kind, choose: Choose) -> Contents:
        """Segments of any branch that are in git's history alone: retention deletes old ones."""


@contextlib.contextmanager
def published(
    repository: str | Folder, environ: Mapping[str, str], credentials: Credentials | None = None
) -> Iterator[Published]:
    """The repository, as long as it is read; RemoteUnavailable."""
    if isinstance(repository, Folder):
        yield _InFolder(repository)
        return
    with tempfile.TemporaryDirectory(prefix="gateway-export-") as folder:
        git = Git(Path(folder) / "cache", repository, environ, credentials=credentials)
        git.prepare()
        yield published_through(git)


def published_through(git: Git) -> Published:
    """The repository, through a cache that is ready and used for other things too."""
    return _InGit(git)


def sources_of(branch: Branch) -> tuple[Branch, Branch]:
    """Where its rows lie: the branch last, since its own is the one that counts."""
    return side_branch(branch), branch


def csv_of(kind: Kind, contents: Contents) -> Iterator[bytes]:
    """The header once, then every row; ContentError for what is no segment any more."""
    header = (",".join(COLUMNS[kind]) + "\n").encode()
    yield header
    for path, content in contents:
        if not content.startswith(header):
            raise ContentError("its columns are not a segment's: someone changed it", where=path)
        yield content[len(header) :]


class _InGit:
    def __init__(self, git: Git) -> None:
        self._git = git

    def holders(self, kind: Kind) -> dict[Branch, list[Branch]]:
        found: dict[Branch, list[Branch]] = {}
        for head, tip in self._heads().items():
            for entry in self._git.ls_tree(tip, kind_folder(kind)):
                with contextlib.suppress(InvalidName):
                    branch = Branch.of_folder(entry.path.rpartition("/")[2])
                    found.setdefault(branch, []).append(head)
        return found

    def _heads(self) -> Mapping[Branch, Commit]:
        """Every branch's tip, all fetched in one round trip."""
        for look in range(_LOOKS):
            heads = self._git.heads()
            stdin = "".join(f"+{tip}:refs/kept/{tip}\n" for tip in set(heads.values()))
            try:
                if heads:
                    self._git.ask([*FETCH, "--depth=1", "origin", "--stdin"], stdin=stdin.encode())
            except MissingRef:  # one moved in between
                if look == _LOOKS - 1:
                    raise
            else:
                break
        return heads

    def contents(
        self, branch: Branch, kind: Kind, sources: Iterable[Branch], choose: Choose | None = None
    ) -> Contents:
        found: dict[str, Entry] = {}
        missing = []
        for source in sources:
            try:
                tip = self._git.fetch_tip(source)
            except MissingRef:
                missing.append(source)
                continue
            listed = self._git.ls_tree(tip, _folder_of(kind, branch), recursive=True)
            found |= {entry.path: entry for entry in listed}
        _require_one(missing, sources)
        return self._blobs([found[path] for path in _chosen(found, choose)])

    def deleted(self, kind: Kind, choose: Choose) -> Contents:
        bring_history(self._git)
        found = {one.path: one for one in deleted_files(self._git, kind_folder(kind))}
        return self._blobs([found[path] for path in _chosen(found, choose)])

    def _blobs(self, segments: list[Entry]) -> Contents:
        start, size = 0, _FIRST
        while start < len(segments):
            fetched = segments[start : start + size]
            start, size = start + size, min(2 * size, _FETCHED)
            self._git.prefetch(entry.oid for entry in fetched)
            for few in range(0, len(fetched), _READ):
                # Read whole before the first is handed on: a slow reader must not hold a process.
                with self._git.blobs() as blobs:
                    read = [(e.path, blobs.read(e.oid)) for e in fetched[few : few + _READ]]
                yield from read


class _InFolder:
    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._shelf = FolderShelf(folder)

    def holders(self, kind: Kind) -> dict[Branch, list[Branch]]:
        found: dict[Branch, list[Branch]] = {}
        for head in self._folder.patience.call("its branches", self._heads):
            view = self._shelf.look(head)
            paths = view.paths if view is not None else ()
            parsed = [parse_path(path) for path in paths]
            for branch in {one.branch for one in parsed if one and one.kind == kind}:
                found.setdefault(branch, []).append(head)
        return found

    def _heads(self, beat: Beat) -> list[Branch]:
        """The sub-folders into which rows were written."""
        self._folder.require()
        with reading(self._folder.path):
            return sorted(_written(self._folder.path, "", _DEPTH, beat))

    def contents(
        self, branch: Branch, kind: Kind, sources: Iterable[Branch], choose: Choose | None = None
    ) -> Contents:
        found: dict[str, Branch] = {}
        missing = []
        for source in sources:
            view = self._shelf.look(source)
            if view is None:
                missing.append(source)
                continue
            below = f"{_folder_of(kind, branch)}/"
            found |= {path: source for path in view.paths if path.startswith(below)}
        _require_one(missing, sources)
        return (
            (path, content)
            for path in _chosen(found, choose)
            # Nothing by now: retention deleted it.
            if (content := self._shelf.read(found[path], path)) is not None
        )

    def deleted(self, kind: Kind, choose: Choose) -> Contents:
        return iter(())  # a folder has no history


def _written(top: Path, name: str, depth: int, beat: Beat) -> Iterator[Branch]:
    beat()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(top / name) as here:
        entries = [entry.name for entry in here if entry.is_dir()]
        if name and WRITTEN[0] in entries:
            with contextlib.suppress(InvalidName):
                yield Branch(name)
        elif depth:
            for entry in entries:
                if not entry.startswith("."):
                    yield from _written(top, f"{name}/{entry}".lstrip("/"), depth - 1, beat)


def _folder_of(kind: Kind, branch: Branch) -> str:
    return f"{kind_folder(kind)}/{branch.folder}"


def _require_one(missing: list[Branch], sources: Iterable[Branch]) -> None:
    wanted = list(sources)
    if len(missing) == len(wanted):
        names = " nor ".join(reversed(wanted))
        raise MissingRef(f"the repository has {'neither ' * (len(wanted) > 1)}{names}")


def _chosen(found: Iterable[str], choose: Choose | None) -> list[str]:
    """The segments among the paths, in order or as it is chosen."""
    ours = [(parsed.order, path) for path in found if (parsed := parse_path(path))]
    paths = [path for _, path in sorted(ours)]
    return paths if choose is None else list(choose(paths))
