"""From a commit to files: what is served is written out, and what cannot be is refused by name.

Nothing here is run, unpickled or followed; refusals say what to do about them.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from gateway.errors import ContentAway, ContentError
from gateway.names import Commit
from gateway.repositories.blobs import Blobs
from gateway.repositories.elsewhere import named_address, shown
from gateway.repositories.git import DamagedCache, Git
from gateway.repositories.lfs import large_files
from gateway.repositories.pointers import MOST_BYTES, NotFollowed, Pointer, parse_pointer
from gateway.repositories.refusals import lonely_dvc_pointer, refuse, too_large
from gateway.repositories.streaming import drain
from gateway.repositories.trees import Entry, parse_entries

#: More files than this are not one model.
MOST_FILES = 100_000

_LINK, _EXECUTABLE, _SUBMODULE = "120000", "100755", "160000"
_LISTING_MOST_BYTES = 64 << 20
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
    most_files: int = MOST_FILES,
) -> None:
    """Write what the commit holds at and below `paths` into the empty directory `target`.

    Missing blobs are fetched in one batch, and content in git-lfs is brought. ContentError if
    anything in it is refused; ContentAway if that may change without another commit.
    """
    entries = _listed(git, commit, paths, most_files, where)
    _refuse_entries(git, commit, entries, where)
    git.prefetch([entry.oid for entry in entries], deadline=deadline)
    known = git.sizes(entry.oid for entry in entries)
    sizes = {entry.path: known[entry.oid] for entry in entries}
    files = [entry for entry in entries if entry.mode != _LINK]
    links = [entry for entry in entries if entry.mode == _LINK]
    if unreal := [entry for entry in links if not 0 < sizes[entry.path] <= _LINK_MOST_BYTES]:
        refuse([f"{entry.path} is a symbolic link to no possible path" for entry in unreal], where)
    with git.blobs(deadline=deadline) as reader:
        pointers = _pointers(reader, files, sizes, where)
        large = {path: pointer.size for path, pointer in pointers.items()}
        reason = too_large({**sizes, **large}, most_bytes)
        refuse([reason] if reason else [], where)
        for entry in files:
            if entry.path not in pointers:
                with _new_file(entry, target, where) as file:
                    reader.copy(entry.oid, file.write)
    if pointers:
        with large_files(git, commit, pointers, deadline=deadline, where=where) as lfs:
            for entry in files:
                if (pointer := pointers.get(entry.path)) is not None:
                    with _new_file(entry, target, where) as file:
                        lfs.copy(entry.path, pointer, file.write)
    # Links come last: no file is ever written through one.
    if links:
        with git.blobs(deadline=deadline) as reader:
            for entry in links:
                _write_link(reader, entry, target, where)
    refuse([reason for entry in links if (reason := _escape(entry, target))], where)


def _listed(git: Git, commit: Commit, paths: Sequence[str], most: int, where: str) -> list[Entry]:
    """Every entry at and below the paths, without repeats; ContentError if there are too many.

    A few small trees can stand for any number of files, so the listing ends with the first too
    many.
    """
    listing = bytearray()
    count = 0

    def take(piece: bytes) -> None:
        nonlocal count
        listing.extend(piece)
        count += piece.count(b"\0")
        if count > most or len(listing) > _LISTING_MOST_BYTES:
            folders = Counter(
                entry.path.rpartition("/")[0] for entry in parse_entries(bytes(listing))
            )
            raise ContentError(
                f"more than {most} files are to be served: keep them in one archive, or out of"
                f" what is served; many are in {folders.most_common(1)[0][0]}/",
                where=where,
            )

    arguments = ["ls-tree", "-r", "-z", "--full-tree", commit, "--", *paths]
    with git.child(arguments) as child:
        try:
            said = drain(child, take, deadline=git.deadline)
        except TimeoutError:
            raise ContentAway("its files cannot be listed in time", where=where) from None
    if child.returncode != 0:
        raise DamagedCache(f"git ls-tree: {git.words(said)}", where=str(git.cache))
    return list({entry.path: entry for entry in parse_entries(bytes(listing))}.values())


def _refuse_entries(git: Git, commit: Commit, entries: Sequence[Entry], where: str) -> None:
    there = {entry.path for entry in entries}
    there |= {folder for path in there for folder in _above(path)}
    reasons = []
    for entry in entries:
        if entry.mode == _SUBMODULE:
            reasons.append(_submodule(git, commit, entry.path, where))
        elif reason := _refusal(entry, there):
            reasons.append(reason)
    refuse(reasons, where)


def _above(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _refusal(entry: Entry, there: set[str]) -> str | None:
    parts = entry.path.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        return f"{entry.path!r} is not a path that may be written: remove it from the branch"
    cure = f"commit {entry.path.removesuffix('.dvc')} itself, or keep it in git-lfs"
    return lonely_dvc_pointer(entry.path, there, cure)


def _submodule(git: Git, commit: Commit, path: str, where: str) -> str:
    try:
        url = named_address(git, commit, path, where=where)
    except ContentError:
        url = None
    of = f" of {shown(url)}" if url else ""
    return (
        f"{path} is a submodule{of}, and what is served must be in the branch itself:"
        f" `git rm --cached {path}` and commit its files in its place, or keep them in git-lfs"
    )


def _pointers(
    reader: Blobs, files: Iterable[Entry], sizes: Mapping[str, int], where: str
) -> dict[str, Pointer]:
    """The files that stand for content in git-lfs; ContentError for those that lead nowhere."""
    found: dict[str, Pointer] = {}
    reasons = []
    for entry in files:
        if sizes[entry.path] <= MOST_BYTES:
            try:
                pointer = parse_pointer(reader.read(entry.oid))
            except NotFollowed as error:
                reasons.append(f"{entry.path} {error}")
            else:
                if pointer is not None:
                    found[entry.path] = pointer
    refuse(reasons, where)
    return found


@contextlib.contextmanager
def _new_file(entry: Entry, target: Path, where: str) -> Iterator[IO[bytes]]:
    """A file that was not there before, read-only and on disk when the block ends."""
    path = target / entry.path
    mode = 0o555 if entry.mode == _EXECUTABLE else 0o444
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except (FileExistsError, NotADirectoryError):
        raise ContentError(f"{entry.path} is in the branch's tree twice", where=where) from None
    with os.fdopen(file, "wb") as sink:
        yield sink
        sink.flush()
        os.fchmod(sink.fileno(), mode)
        os.fsync(sink.fileno())


def _write_link(reader: Blobs, entry: Entry, target: Path, where: str) -> None:
    pointed = reader.read(entry.oid)
    if b"\0" in pointed:
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
