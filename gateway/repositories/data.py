"""One file of a branch for the monitor, such as data/train.csv, wherever the branch keeps it.

In the branch itself, in git-lfs, or in a submodule at its pinned commit, however deep. Owns the
caches of the submodules' repositories, one an address. What is served never comes from here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import IO

from gateway.errors import ContentAway, ContentError, MissingRef
from gateway.names import Branch, Commit
from gateway.repositories.elsewhere import submodule_address
from gateway.repositories.git import FETCH, DamagedCache, Git
from gateway.repositories.lfs import clear_lfs, large_files
from gateway.repositories.pointers import MOST_BYTES, NotFollowed, Pointer, parse_pointer
from gateway.repositories.trees import Entry

_DEEPEST = 8
_MOST_PARTS = 64
_MOST_CACHES = 8
_CACHE_BYTES = 1 << 30
_ALL = 2**31 - 1
#: What git says where a server gives tips of branches and nothing else.
_REFUSES_IDS = "unadvertised object"
_FETCH_WHOLE = [*FETCH, "--no-filter"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file came from: `path` at `commit` of the repository at `address`."""

    address: str
    commit: Commit
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Found:
    git: Git
    commit: Commit
    entry: Entry


class BranchData:
    """Brings files of branches that `git` follows; submodules' caches are kept below `folder`.

    For one thread, and for the only owner of `git`, whose `close` ends what runs here too. A
    server other than the repository's own gets no credentials.
    """

    def __init__(self, git: Git, folder: Path, *, deadline: float = 600.0) -> None:
        self._git = git
        self._folder = folder.absolute()
        self._deadline = deadline
        self._caches: dict[str, Git] = {}
        self._whole: set[str] = set()

    def open(self) -> None:
        """Clear what a crash left; the caches themselves are as good as before."""
        clear_lfs(self._git.cache)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for cache in self._folder.iterdir():
            clear_lfs(cache)

    def write(
        self, branch: Branch, commit: Commit, path: str, target: Path, *, most_bytes: int
    ) -> Source:
        """Write the branch's file at `path` to `target`, which is replaced whole.

        ContentError says what is wrong in the branch, ContentAway what is missing on a server;
        MissingRef: the branch's commit is gone; RemoteUnavailable: a server cannot be asked.
        """
        where = f"{branch} at {commit}"
        parts = path.split("/")
        if len(parts) > _MOST_PARTS or any(part in ("", ".", "..") for part in parts):
            raise ContentError(f"{path!r} is not a path inside a branch", where=where)
        try:
            return self._write(commit, path, target, most_bytes, where)
        except MissingRef as error:
            if not self._fetch_whole(error):
                raise
            return self.write(branch, commit, path, target, most_bytes=most_bytes)
        except DamagedCache:
            # Which of the caches it was does not matter: all of them are disposable.
            self._caches.clear()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._git.rebuild()
            self.open()
            return self._write(commit, path, target, most_bytes, where)

    def identity(self, branch: Branch, commit: Commit, path: str) -> str:
        """The file's object id, found through submodules; it is not read. Raises as `write` does.

        A pointer of git-lfs is a file like any other: it changes with what it points to.
        """
        where = f"{branch} at {commit}"
        try:
            self._git.fetch(commit, deadline=self._deadline)
            return self._find(self._git, commit, path, path, where, 0).entry.oid
        except MissingRef as error:
            if not self._fetch_whole(error):
                raise
            return self.identity(branch, commit, path)

    def _write(
        self, commit: Commit, path: str, target: Path, most_bytes: int, where: str
    ) -> Source:
        self._git.fetch(commit, deadline=self._deadline)
        found = self._find(self._git, commit, path, path, where, 0)
        pointer = self._bring(found, path, most_bytes, where)
        digest, size = sha256(), 0
        with _replacing(target) as file:

            def write(piece: bytes) -> None:
                nonlocal size
                size += len(piece)
                digest.update(piece)
                file.write(piece)

            self._copy(found, path, pointer, write, where)
        source = found.git.address.shown
        return Source(source, found.commit, found.entry.path, size, digest.hexdigest())

    def _find(
        self, git: Git, commit: Commit, path: str, whole: str, where: str, depth: int
    ) -> _Found:
        """The file's entry, through as many submodules as lie on the way; `whole` is for people."""
        parts = path.split("/")
        before = whole.removesuffix(path)
        for count in range(1, len(parts) + 1):
            here = "/".join(parts[:count])
            entries = git.ls_paths(commit, [here])
            if not entries:
                raise ContentError(f"no {before}{here}; looked for {whole}", where=where)
            entry, last = entries[0], count == len(parts)
            if entry.mode == "120000":
                raise ContentError(
                    f"{before}{here} is a symbolic link, which is not followed: name the file"
                    " itself",
                    where=where,
                )
            if entry.kind == "commit" and not last:
                if depth == _DEEPEST:
                    raise ContentError(f"{whole} lies in too many submodules", where=where)
                inner = self._submodule(git, commit, entry, f"{before}{here}", where)
                rest = "/".join(parts[count:])
                return self._find(inner, Commit(entry.oid), rest, whole, where, depth + 1)
            if last and entry.kind != "blob":
                raise ContentError(f"{whole} is a folder: name a file in it", where=where)
            if not last and entry.kind == "blob":
                raise ContentError(f"{before}{here} is a file, so there is no {whole}", where=where)
        return _Found(git, commit, entry)

    def _submodule(self, git: Git, commit: Commit, entry: Entry, shown: str, where: str) -> Git:
        """The cache of the submodule's repository, with the pinned commit in it."""
        address = submodule_address(git, commit, entry.path, where=where)
        inner = self._cache(address)
        self._pin(inner, Commit(entry.oid))
        if not inner.has(Commit(entry.oid)):
            raise ContentAway(
                f"{shown} is a submodule pinned at {entry.oid}, which is not on"
                f" {inner.address.shown}: push it there (git push, inside {shown})",
                where=where,
            )
        return inner

    def _pin(self, inner: Git, commit: Commit) -> None:
        """Have the commit, if the remote has it."""
        if inner.cache.name in self._whole:
            for depth in (1, _ALL):
                if not inner.has(commit):
                    wanted = f"--depth={depth}", "origin", "+refs/heads/*:refs/branches/*"
                    inner.ask([*_FETCH_WHOLE, *wanted], deadline=self._deadline)
            return
        try:
            inner.fetch(commit, deadline=self._deadline)
        except MissingRef as error:
            if _REFUSES_IDS in error.message:
                raise

    def _fetch_whole(self, refused: MissingRef) -> bool:
        """From a server that gives nothing by its id, bring whole branches from now on.

        False if that was no submodule's, or is done already.
        """
        for name, cache in self._caches.items():
            if cache.address.shown == refused.where and name not in self._whole:
                self._whole.add(name)
                # What came without its blobs would never be completed.
                cache.rebuild()
                return _REFUSES_IDS in refused.message
        return False

    def _cache(self, address: str) -> Git:
        folder = self._folder / blake2b(address.encode(), digest_size=16).hexdigest()
        known = self._caches.get(folder.name)
        if known is None or not folder.exists():
            known = self._caches[folder.name] = self._git.beside(folder, address)
        elif known.crowded or known.stored_bytes() > _CACHE_BYTES:
            known.rebuild()
        os.utime(folder)
        self._forget_old(folder)
        return known

    def _forget_old(self, used: Path) -> None:
        caches = [path for path in self._folder.iterdir() if path.name[0] != "."]
        caches.sort(key=lambda path: (path != used, -path.stat().st_mtime_ns))
        for old in caches[_MOST_CACHES:]:
            self._caches.pop(old.name, None)
            shutil.rmtree(old, ignore_errors=True)

    def _bring(self, found: _Found, path: str, most_bytes: int, where: str) -> Pointer | None:
        """Have the file's blob in the cache; its pointer, if that is all it is."""
        oid = found.entry.oid
        found.git.prefetch([oid], deadline=self._deadline)
        size = found.git.sizes([oid])[oid]
        pointer = None
        if size <= MOST_BYTES:
            try:
                pointer = parse_pointer(found.git.read_blob(oid))
            except NotFollowed as error:
                raise ContentError(f"{path} {error}", where=where) from error
        size = pointer.size if pointer is not None else size
        if size > most_bytes:
            raise ContentError(
                f"{path} has {size} bytes, and at most {most_bytes} are read", where=where
            )
        return pointer

    def _copy(
        self,
        found: _Found,
        path: str,
        pointer: Pointer | None,
        write: Callable[[bytes], object],
        where: str,
    ) -> None:
        if pointer is None:
            with found.git.blobs(deadline=self._deadline) as reader:
                reader.copy(found.entry.oid, write)
            return
        with large_files(
            found.git, found.commit, {path: pointer}, deadline=self._deadline, where=where
        ) as lfs:
            lfs.copy(path, pointer, write)


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes the target's place when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
