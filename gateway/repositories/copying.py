"""From a settled listing to files: every byte is checked against what two looks saw."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from gateway.errors import RemoteUnavailable
from gateway.repositories.folder import opened, reading
from gateway.repositories.listing import Found, Listing, open_found
from gateway.repositories.patience import Beat

_PIECE = 1 << 20
#: Bytes after which the disk is waited for: one sync of them all could take minutes.
_SYNCED = 64 << 20


def copy_found(listing: Listing, target: Path, beat: Beat) -> None:
    """Write the listed files into the empty directory `target`, read-only and durable.

    RemoteUnavailable if one is not what it was; OSError if this machine's disk refuses them.
    """
    written: dict[tuple[str, bool], Path] = {}
    with reading(listing.root):
        descriptor = os.open(listing.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for found in listing.files:
            beat()
            path = target / found.path
            path.parent.mkdir(parents=True, exist_ok=True)
            key = (_wanted(found), found.executable)
            if key in written:
                # Such as a link to the model beside it: the bytes are stored once.
                path.hardlink_to(written[key])
            else:
                _copy(descriptor, found, path, beat)
                written[key] = path
    finally:
        os.close(descriptor)


def read_beside(listing: Listing, path: str, most_bytes: int, beat: Beat) -> bytes | None:
    """The beginning of a file beside the content; None without one. RemoteUnavailable as above."""
    found = next((found for found in listing.beside if found.path == path), None)
    if found is None:
        return None
    kept = bytearray()
    with reading(listing.root), opened(listing.root) as root:
        _checked(root, found, beat, lambda piece: kept.extend(piece[: most_bytes - len(kept)]))
    return bytes(kept)


def _copy(root: int, found: Found, path: Path, beat: Beat) -> None:
    mode = 0o555 if found.executable else 0o444
    sink = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(sink, "wb", buffering=0) as copy:

        def write(piece: bytes) -> None:
            before = copy.tell() // _SYNCED
            left = memoryview(piece)
            while left:
                left = left[copy.write(left) :]
            if copy.tell() // _SYNCED > before:
                os.fsync(copy.fileno())

        _checked(root, found, beat, write)
        os.fchmod(copy.fileno(), mode)
        os.fsync(copy.fileno())


def _checked(root: int, found: Found, beat: Beat, take: Callable[[bytes], object]) -> None:
    """Hand over the bytes piece by piece; RemoteUnavailable if they were not what was found."""
    where = Path(found.path)
    digest = hashlib.sha256()
    with reading(where):
        descriptor = open_found(root, found)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while True:
            with reading(where):
                piece = file.read(_PIECE)
            beat()
            if not piece:
                break
            digest.update(piece)
            take(piece)
    if digest.hexdigest() != _wanted(found):
        raise RemoteUnavailable("it changed while it was read", where=found.path)


def _wanted(found: Found) -> str:
    return found.digest.sha256 if found.digest else ""
