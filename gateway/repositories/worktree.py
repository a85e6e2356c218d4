"""Which commit a sub-folder is checked out at, where it is a git work tree that holds just that.

git is only asked for trees: it reads no index and runs nothing that the folder's own configuration
names, such as file-system monitors, filters or hooks. What is equal is judged by content.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.errors import RemoteUnavailable
from gateway.names import Commit
from gateway.repositories.authorship import QUESTION
from gateway.repositories.credentials import Credentials
from gateway.repositories.fingerprint import SERVED
from gateway.repositories.gitprocess import Address, GitProcess
from gateway.repositories.listing import BESIDE, Found, Listing
from gateway.repositories.trees import Entry

_LINK, _SUBMODULE = "120000", "160000"
_DEADLINE = 20.0
_MOST_POINTERS = 1000
_LFS_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)


class WorkTrees:
    """Asks git about sub-folders. `environment` is the whole environment of its children."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._running: set[GitProcess] = set()

    def close(self) -> None:
        """End what runs."""
        for process in list(self._running):
            process.interrupt()

    def head(self, root: Path) -> Commit | None:
        """What is checked out; None where there is no work tree, or git cannot read it."""
        if not os.path.lexists(root / ".git"):
            return None
        found = self._git(root, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
        return Commit(found.decode().strip()) if found else None

    def told(self, root: Path, commit: Commit) -> bytes | None:
        """What git says of who made a commit; None where it is none of this repository."""
        if not os.path.lexists(root / ".git"):
            return None
        return self._git(root, [*QUESTION, commit])

    def tree(self, root: Path, head: Commit) -> list[Entry]:
        """The files, links and submodules below what is served, as committed."""
        listed = self._git(
            root, ["ls-tree", "-r", "-z", "--full-tree", head, "--", *SERVED, BESIDE]
        )
        found = []
        for record in (listed or b"").split(b"\0")[:-1]:
            described, _, path = record.partition(b"\t")
            mode, kind, oid = described.decode().split()
            found.append(Entry(mode, kind, oid, os.fsdecode(path)))
        return found

    def holds(self, root: Path, tree: Sequence[Entry], listing: Listing) -> bool:
        """Whether the listing is the tree, file by file; git-lfs content counts as its pointer."""
        committed = {entry.path: entry for entry in tree if not _is_left_out(entry.path)}
        if any(entry.mode == _SUBMODULE for entry in committed.values()):
            return False
        through = tuple(f"{path}/" for path, _ in listing.links)
        links = {path: to for path, to in listing.links if not path.startswith(through)}
        own = [
            found
            for found in (*listing.files, *listing.beside)
            if found.path not in links and not found.path.startswith(through)
        ]
        if committed.keys() != {*links, *(found.path for found in own)}:
            return False
        if {path for path, entry in committed.items() if entry.mode == _LINK} != links.keys():
            return False
        differing = [found for found in own if not _is_equal(found, committed[found.path])]
        if any(committed[f.path].mode != _mode(f) for f in differing):
            return False
        pointers = [committed[found.path].oid for found in differing]
        targets = self._blobs(root, [committed[path].oid for path in links])
        return targets == [os.fsencode(pointed) for pointed in links.values()] and (
            self._pointed(root, pointers)
            == [found.digest and found.digest.sha256 for found in differing]
        )

    def _pointed(self, root: Path, oids: Sequence[str]) -> list[str | None]:
        """What each blob points at, if it is a git-lfs pointer."""
        found = [_LFS_OID.search(blob) for blob in self._blobs(root, oids)]
        return [match and match[1].decode() for match in found]

    def _blobs(self, root: Path, oids: Sequence[str]) -> list[bytes]:
        """Small blobs; an empty list if one of them is not small, or not here."""
        if not oids or len(oids) > _MOST_POINTERS:
            return []
        asked = "".join(f"{oid}\n" for oid in oids).encode()
        sizes = self._git(root, ["cat-file", "--batch-check=%(objectsize)"], asked) or b""
        if any(not size.isdigit() or int(size) > 4096 for size in sizes.split(b"\n")[:-1]):
            return []
        output = self._git(root, ["cat-file", "--batch=%(objectsize)"], asked) or b""
        blobs = []
        while output:
            size, _, rest = output.partition(b"\n")
            blobs.append(rest[: int(size)])
            output = rest[int(size) + 1 :]
        return blobs

    def _git(self, root: Path, arguments: list[str], stdin: bytes = b"") -> bytes | None:
        """Standard output; None if git fails, as where a work tree's repository is elsewhere."""
        process = GitProcess(
            root / ".git",
            Address(str(root)),
            self._environment,
            Credentials(),
            protocols="none",
        )
        self._running.add(process)
        try:
            done = process.run(arguments, stdin=stdin, deadline=_DEADLINE, network=False)
        except OSError as error:
            raise RemoteUnavailable(f"git cannot be started: {error}", where=str(root)) from error
        finally:
            self._running.discard(process)
        return done.output if done.code == 0 else None


def missing_submodules(tree: Sequence[Entry], listing: Listing) -> list[str]:
    """The reasons against submodules that are empty folders here."""
    return [
        f"{entry.path} is a submodule that is not checked out: run `git submodule update --init`"
        " in the folder"
        for entry in tree
        if entry.mode == _SUBMODULE and entry.path in listing.hollow
    ]


def _mode(found: Found) -> str:
    return "100755" if found.executable else "100644"


def _is_equal(found: Found, entry: Entry) -> bool:
    blob = found.digest.blob if found.digest else None
    return (entry.mode, entry.oid) == (_mode(found), blob)


def _is_left_out(path: str) -> bool:
    return "/." in path or "/__pycache__/" in path
