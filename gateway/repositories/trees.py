"""Lines of a tree as `git ls-tree -z` prints them."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a tree. `mode` as git prints it; `kind` is blob, tree or commit (submodule)."""

    mode: str
    kind: str
    oid: str
    path: str

    @property
    def plain(self) -> bool:
        """Whether it is an ordinary file: no folder, link or submodule."""
        return self.mode in ("100644", "100755")


def parse_entries(listed: bytes) -> list[Entry]:
    """The entries of one listing, in its order."""
    found = []
    for record in listed.split(b"\0")[:-1]:
        head, _, path = record.partition(b"\t")
        mode, kind, oid = head.decode().split()
        found.append(Entry(mode, kind, oid, os.fsdecode(path)))
    return found
