"""One look at a branch's sub-folder: every served file with its size, time and digest.

Two looks that found the same are how a folder is known to stand still. Symbolic links are what
they point at, and may not leave the sub-folder; names with a leading dot are other programs'
(rsync's, NFS's, Kubernetes') and not served, yet watched: who writes one is still at work.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.repositories.digests import Digest, Digests, Stamp
from gateway.repositories.fingerprint import SERVED
from gateway.repositories.folder import (
    WRITTEN,
    file_opened,
    names_in,
    open_file,
    opened,
    opened_below,
    reading,
)
from gateway.repositories.patience import Beat
from gateway.repositories.refusals import lonely_dvc_pointer, too_large
from gateway.repositories.trees import Entry

#: A team's own gateway.yaml: followed, but no content of a branch.
BESIDE = "gateway.yaml"
_DERIVED = "__pycache__"
_MOST_VISITS = 100_000
_DEEPEST = 64
#: What a path says that led somewhere else a moment ago.
_SWAPPED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(frozen=True, slots=True)
class Found:
    """A file below `path`; its bytes are in `stamp.path`, where no link leads any more."""

    path: str
    executable: bool
    stamp: Stamp
    digest: Digest | None = None

    @property
    def seen(self) -> tuple[object, ...]:
        """What must be equal at two looks."""
        sha256 = self.digest and self.digest.sha256
        return (self.path, self.executable, self.stamp.size, self.stamp.modified, sha256)


@dataclass(frozen=True, slots=True)
class Listing:
    """What one look found below `root`. `passing` is watched only; `links` lead to `files`."""

    root: Path
    files: tuple[Found, ...] = ()
    beside: tuple[Found, ...] = ()
    passing: frozenset[tuple[str, int, int]] = frozenset()
    links: tuple[tuple[str, str], ...] = ()
    hollow: frozenset[str] = frozenset()
    refusals: tuple[str, ...] = ()
    moving: bool = False

    def stands_since(self, before: Listing | None) -> bool:
        """Whether sizes, times and digests are those of the look before."""
        return (
            before is not None
            and not self.moving
            and self.seen == before.seen
            and (bool(self.refusals) or all(f.digest for f in (*self.files, *self.beside)))
        )

    @property
    def seen(self) -> tuple[object, ...]:
        """What must be equal at two looks."""
        files = [found.seen for found in (*self.files, *self.beside)]
        return (files, self.passing, self.links, self.hollow, self.refusals)

    @property
    def entries(self) -> list[Entry]:
        """The served files as entries of a tree, whose ids are their SHA-256."""
        return [
            Entry(
                "100755" if found.executable else "100644", "blob", found.digest.sha256, found.path
            )
            for found in self.files
            if found.digest is not None
        ]

    def version(self, *, whole: bool) -> str:
        """A digest of the content, and if `whole` of what is followed beside it."""
        digest = hashlib.sha256()
        files = (*self.files, *self.beside) if whole else self.files
        for found in files:
            held = (
                found.digest.sha256
                if found.digest
                else f"{found.stamp.size} {found.stamp.modified}"
            )
            line = f"{found.executable:d} {held} {found.path}\0"
            digest.update(line.encode(errors="surrogateescape"))
        for reason in self.refusals if whole else ():
            digest.update(f"refused {reason}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()


def look(
    root: Path, digests: Digests, most_bytes: int, algorithm: str | None, beat: Beat
) -> Listing:
    """What is there now. RemoteUnavailable if the mount does not let us see it."""
    with reading(root), opened(root) as descriptor:
        walk = _Walk(root, descriptor, beat)
        walk.served()
        digests.begin(algorithm)
        refusals = [*walk.refusals, *_refusals(walk, most_bytes)]
        files = walk.files
        if not refusals:
            files = [walk.digested(found, digests) for found in walk.files]
            refusals = [
                f"{_shown(found.path)} {found.digest.refusal}"
                for found in files
                if found.digest and found.digest.refusal
            ]
        beside = [walk.digested(found, digests) for found in walk.beside]
        digests.end()
    return Listing(
        root,
        tuple(sorted(files, key=lambda found: found.path)),
        tuple(beside),
        frozenset(walk.passing),
        tuple(sorted(walk.links)),
        frozenset(walk.hollow),
        tuple(sorted(refusals)),
        walk.moving,
    )


def _refusals(walk: _Walk, most_bytes: int) -> Iterator[str]:
    paths = [found.path for found in walk.files]
    pointers = [path for path in paths if path.endswith(".dvc")]
    for path in pointers:
        if reason := lonely_dvc_pointer(path, paths, "run `dvc pull` in the folder"):
            yield reason
    if reason := too_large({found.path: found.stamp.size for found in walk.files}, most_bytes):
        yield reason


def _shown(path: str) -> str:
    return os.fsencode(path).decode(errors="replace")


@dataclass(slots=True)
class _Walk:
    """Goes through the served names of an open folder; nothing is read but names and stats."""

    root: Path
    descriptor: int
    beat: Beat
    files: list[Found] = field(default_factory=list)
    beside: list[Found] = field(default_factory=list)
    passing: list[tuple[str, int, int]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    hollow: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    moving: bool = False
    visits: int = 0

    def served(self) -> None:
        there = names_in(self.descriptor)
        for name in (*SERVED, BESIDE):
            if name in there:
                self._visit(self.descriptor, name, name, name, ())
        if self.visits > _MOST_VISITS:
            self.refusals.append(f"there are more than {_MOST_VISITS} files: serve fewer")
        self.beside = [found for found in self.files if found.path == BESIDE]
        self.files = [found for found in self.files if found.path != BESIDE]

    def digested(self, found: Found, digests: Digests) -> Found:
        try:
            digest = digests.of(found.stamp, lambda: open_found(self.descriptor, found), self.beat)
        except OSError as error:
            if error.errno not in _SWAPPED:
                raise
            self.moving = True
            return found
        return Found(found.path, found.executable, found.stamp, digest)

    def _visit(
        self, folder: int, name: str, shown: str, real: str, within: tuple[str, ...]
    ) -> None:
        """`shown` is the path that serves it, `real` the one without links, below the root."""
        self.beat()
        self.visits += 1
        if self.visits > _MOST_VISITS:
            return
        try:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                self._follow(shown, real, within)
            elif stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                with file_opened(folder, name) as descriptor:
                    self._met(descriptor, shown, real, within)
            elif not _is_hidden(shown):
                self.refusals.append(f"{_shown(shown)} is neither a file nor a folder")
        except OSError as error:
            # It was there a moment ago: somebody is at work.
            if error.errno not in _SWAPPED:
                raise
            self.moving = True

    def _met(self, descriptor: int, shown: str, real: str, within: tuple[str, ...]) -> None:
        found = os.fstat(descriptor)
        if _is_hidden(shown):
            self.passing.append((shown, found.st_size, found.st_mtime_ns))
        if stat.S_ISDIR(found.st_mode):
            self._enter(descriptor, shown, real, within)
        elif not _is_hidden(shown):
            executable = bool(found.st_mode & stat.S_IXUSR)
            self.files.append(Found(shown, executable, Stamp.of(real, found)))

    def _enter(self, descriptor: int, shown: str, real: str, within: tuple[str, ...]) -> None:
        if real in within or len(within) == _DEEPEST:
            self.refusals.append(f"{_shown(shown)} is a folder within itself, or nested too deeply")
            return
        names = names_in(descriptor)
        if not names:
            self.hollow.append(shown)
        for name in names:
            if name != _DERIVED:
                below = (*within, real)
                self._visit(descriptor, name, f"{shown}/{name}", f"{real}/{name}", below)

    def _follow(self, shown: str, real: str, within: tuple[str, ...]) -> None:
        pointed = str((self.root / real).readlink())
        if _is_hidden(shown):
            self.passing.append((f"{shown} -> {pointed}", 0, 0))
            return
        self.links.append((shown, pointed))
        inside = self._inside(Path(os.path.realpath(self.root / real)))
        if inside is None:
            self.refusals.append(
                f"{_shown(shown)} is a symbolic link to {_shown(pointed)!r}, which is not among"
                " what the branch's folder holds: put the file itself in its place"
            )
            return
        with opened_below(self.descriptor, str(inside.parent)) as folder:
            self._visit(folder, inside.name, shown, str(inside), within)

    def _inside(self, target: Path) -> Path | None:
        """The target's path below the root; None if it is not there, or may not be served."""
        if not target.is_relative_to(self.root) or not target.exists():
            return None
        inside = target.relative_to(self.root)
        return inside if inside.parts and inside.parts[0] not in WRITTEN else None


def open_found(root: int, found: Found) -> int:
    """A descriptor of a found file, for reading; `root` is that of its sub-folder."""
    folder, _, name = found.stamp.path.rpartition("/")
    with opened_below(root, folder) as inner:
        return open_file(inner, name)


def _is_hidden(shown: str) -> bool:
    return "/." in shown
