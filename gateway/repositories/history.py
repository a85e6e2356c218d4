"""All commits of a remote: for what no branch is at any more, and files that were deleted."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.repositories.git import FETCH, Git
from gateway.repositories.trees import Entry

#: Seconds that the commits and trees of a whole repository may take.
_DEADLINE = 1800.0


def bring_history(git: Git) -> None:
    """Every commit and tree that a ref of the remote leads to, and no blob; RemoteUnavailable."""
    whole = ["--unshallow"] if git.shallow() else []
    git.ask([*FETCH, *whole, "origin", "+refs/*:refs/replayed/*"], deadline=_DEADLINE)


def deleted_files(git: Git, folder: str) -> Iterator[Entry]:
    """Files below the folder that some commit deleted, as they were before it (local)."""
    arguments = ["log", "--all", "--format=", "--raw", "--no-abbrev", "--no-renames", "-z"]
    listed = git.run([*arguments, "--diff-filter=D", "--", folder], deadline=_DEADLINE)
    fields = listed.decode(errors="surrogateescape").split("\0")
    for what, path in zip(fields[::2], fields[1::2], strict=False):
        mode, _, oid, *_ = what.lstrip("\n:").split(" ")
        yield Entry(mode, "blob", oid, path)
