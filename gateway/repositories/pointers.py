"""Small files that stand for content kept elsewhere: those of git-lfs, and XetHub's.

Pure: looks at a file's bytes. Where the content comes from is `lfs`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Nothing longer is a pointer.
MOST_BYTES = 1024

_BEGINNING = b"version https://git-lfs.github.com/spec/"
_LFS = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"oid sha256:([0-9a-f]{64})\nsize (0|[1-9][0-9]{0,17})\n?"
)
_EXTENSION = re.compile(rb"^ext-\d-", re.MULTILINE)
_XET_ADDRESS = re.compile(rb"\s*xet://\S+\s*")
_XET_POINTER = re.compile(rb"# xet version 0\r?(\n|$)")


class NotFollowed(ValueError):
    """A pointer that leads nowhere the gateway goes; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """What git-lfs commits in a file's place: the sha256 and the size of the content."""

    oid: str
    size: int

    def __str__(self) -> str:
        """The pointer file."""
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {self.size}\n"
        )


def parse_pointer(content: bytes) -> Pointer | None:
    """The git-lfs pointer that a file is, or None if it is the content itself.

    NotFollowed if it is a pointer that cannot be followed.
    """
    if len(content) > MOST_BYTES:
        return None
    if content.startswith(_BEGINNING):
        return _lfs(content)
    if _XET_ADDRESS.fullmatch(content) or _XET_POINTER.match(content):
        raise NotFollowed(
            "is a XetHub pointer, not the content itself, and XetHub is not read: download the"
            " file and commit it itself, or keep it in git-lfs"
        )
    return None


def _lfs(content: bytes) -> Pointer:
    found = _LFS.fullmatch(content)
    if found is not None:
        return Pointer(found[1].decode(), int(found[2]))
    if _EXTENSION.search(content):
        # An extension is a program that the pointer names.
        raise NotFollowed(
            "is a git-lfs pointer with an extension, which is not run: commit it without"
            " extensions (git config --unset-all lfs.extension.NAME.clean, then add it again)"
        )
    raise NotFollowed(
        "begins like a git-lfs pointer and is none: it must be the three lines version"
        " (spec/v1), oid sha256:… and size; add the file again with git-lfs installed"
    )
