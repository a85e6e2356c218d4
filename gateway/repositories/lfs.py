"""Content that git-lfs keeps: brought through `git lfs smudge`, counted and verified here.

git-lfs runs in an empty repository of its own below the cache, so that nothing of a branch
configures it and what it stores goes when the work is done. What it says and writes is believed
only as far as size and sha256 of what came out are those of the pointer.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from gateway.errors import ContentAway, ContentError, RemoteUnavailable
from gateway.names import Commit
from gateway.repositories.elsewhere import lfs_address
from gateway.repositories.git import DamagedCache, Git
from gateway.repositories.pointers import Pointer
from gateway.repositories.streaming import drain

_ROOM = "lfs"
#: What git-lfs may write beside the content: traces, locks, the pointer when it fails.
_SLACK = 1 << 20
_MOST_NAMED = 5
#: The watcher tries again itself; a branch is answered for soon rather than much later.
_CONFIG = {
    "lfs.concurrenttransfers": "1",
    "lfs.fetchexclude": "",
    "lfs.fetchinclude": "",
    "lfs.skipdownloaderrors": "false",
    "lfs.transfer.maxretries": "1",
    "lfs.transfer.maxretrydelay": "1",
}
#: For the statuses of answers, which git-lfs tells in no other way.
_TRACE = {"GIT_TRACE": "1"}
_STATUS = re.compile(rb"trace git-lfs: HTTP: (\d{3})$", re.MULTILINE)
_MISSING = re.compile(rb"remote missing object|\[(?:404|410)\] ")
_WRONG = re.compile(rb"expected OID [0-9a-f]{64}, got |downloaded file failed checks")
#: Its own words: any other line may hold what a server answered, and that a token.
_TOLD = re.compile(
    rb"^(?:error|fatal|ssh|git|host key|permission|no password|\S+ asked)\b.*$", re.I
)
_PREFIX = re.compile(rb"^Error downloading object: .*\([0-9a-f]{64}\): ")


def clear_lfs(cache: Path) -> None:
    """Remove what a killed process left of its downloads; before the cache is used."""
    shutil.rmtree(cache / _ROOM, ignore_errors=True)


class LargeFiles:
    """One commit's content in git-lfs, as long as `large_files` lasts."""

    def __init__(self, git: Git, address: str | None, *, deadline: float, where: str) -> None:
        self._git = git
        self._folder = git.cache
        self._arguments = [
            part for key, value in _CONFIG.items() for part in ("-c", f"{key}={value}")
        ]
        if address is not None:
            self._arguments += ["-c", f"lfs.url={address}"]
        self._end = time.monotonic() + deadline
        self._deadline = deadline
        self._where = where

    def copy(self, path: str, pointer: Pointer, write: Callable[[bytes], object]) -> None:
        """Hand the content of the pointer at `path` to `write` piece by piece.

        ContentAway if the server does not have it, ContentError if the pointer is wrong,
        RemoteUnavailable if the server cannot be asked. What was written then counts for nothing.
        """
        digest, size = sha256(), 0

        def take(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            digest.update(piece)
            if size <= pointer.size:
                write(piece)
            elif size > pointer.size + _SLACK:
                raise self._larger(path, pointer)

        with self._git.child([*self._arguments, "lfs", "smudge"], _TRACE) as child:
            try:
                said = drain(
                    child,
                    take,
                    stdin=str(pointer).encode(),
                    deadline=max(self._end - time.monotonic(), 0.0),
                    look=lambda: self._refuse_larger(path, pointer),
                )
            except TimeoutError:
                raise RemoteUnavailable(
                    f"{path} did not come out of git-lfs within {self._deadline:g} s",
                    where=self._git.address.shown,
                ) from None
        if child.returncode != 0:
            raise self._failure(path, child.returncode, said)
        right = digest.hexdigest() == pointer.oid
        if size != pointer.size and right:
            raise ContentError(
                f"the git-lfs pointer {path} says {pointer.size} bytes, and its content has {size}:"
                " add the file again with git-lfs installed",
                where=self._where,
            )
        if not right:
            raise self._wrong(path)
        # Only one at a time takes room beside the snapshot.
        shutil.rmtree(self._folder / "lfs", ignore_errors=True)

    def _refuse_larger(self, path: str, pointer: Pointer) -> None:
        for folder, _, names in os.walk(self._folder / "lfs"):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    if Path(folder, name).stat().st_size > pointer.size + _SLACK:
                        raise self._larger(path, pointer)

    def _larger(self, path: str, pointer: Pointer) -> ContentAway:
        return ContentAway(
            f"the git-lfs server sends more than the {pointer.size} bytes that {path} has by its"
            " pointer: push the content again (git lfs push --all) from a clone that has it",
            where=self._where,
        )

    def _wrong(self, path: str) -> ContentAway:
        return ContentAway(
            f"what the git-lfs server has as {path} is not the content of its pointer (the sha256"
            " differs): push it again (git lfs push --all) from a clone that has it",
            where=self._where,
        )

    def _failure(self, path: str, code: int, said: bytes) -> Exception:
        statuses = _STATUS.findall(said)
        if _WRONG.search(said):
            return self._wrong(path)
        if _MISSING.search(said) or (statuses and statuses[-1] in (b"404", b"410")):
            return ContentAway(
                f"{path} is in git-lfs and its content is not on {self._git.address.shown}, or not"
                " for the gateway to read: `git lfs push --all` from a clone that has it",
                where=self._where,
            )
        told = [_PREFIX.sub(b"", line) for line in said.splitlines() if _TOLD.match(line)]
        words = self._git.words(b"\n".join(told)) or f"exit code {code}"
        return RemoteUnavailable(
            f"git lfs smudge of {path}: {words}", where=self._git.address.shown
        )


@contextlib.contextmanager
def large_files(
    git: Git, commit: Commit, pointers: Mapping[str, Pointer], *, deadline: float, where: str
) -> Iterator[LargeFiles]:
    """The way to the content of a commit's pointers; ContentAway if there is no git-lfs here."""
    _refuse_without_git_lfs(git, pointers, where)
    address = lfs_address(git, commit, where=where)
    room = git.cache / _ROOM
    room.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=room, ignore_cleanup_errors=True) as folder:
        empty = git.beside(Path(folder) / "git", address)
        yield LargeFiles(empty, address, deadline=deadline, where=where)


def _refuse_without_git_lfs(git: Git, pointers: Mapping[str, Pointer], where: str) -> None:
    try:
        git.run(["lfs", "version"])
    except DamagedCache as error:
        if "is not a git command" not in error.message:
            raise RemoteUnavailable(error.message, where=where) from error
        names = ", ".join(list(pointers)[:_MOST_NAMED])
        more = len(pointers) - _MOST_NAMED
        raise ContentAway(
            f"the content of {names}{f' and {more} more' if more > 0 else ''} is in git-lfs, which"
            " is not installed where the gateway runs: install it there, or commit the files"
            " themselves",
            where=where,
        ) from None
