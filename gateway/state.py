"""The state directory: who owns it, and the key of unit hashes that lives in it.

Everything that must outlive the process lies below it. One front owns it at a time; a second one
is refused. The files of other rooms in it are theirs.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from gateway.config.settings import OperatorConfig
from gateway.errors import StateError

_OWN_KEY = "unit.key"
_KEY_BYTES = 32
_SHORTEST_KEY = 16
_REPLICA = "replica.id"


class StateDirectory:
    """The opened directory, locked until `close` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    def open(self) -> None:
        """Make it (0700) and take its lock; StateError if it is in use or cannot be written."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"cannot be used: {error.strerror}", where=str(self.path)) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            os.close(self._lock)
            self._lock = -1
            raise StateError(
                f"in use by another gateway (process {owner or 'unknown'}); "
                "give each gateway a state_dir of its own",
                where=str(self.path),
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def unit_key(self, config: OperatorConfig, environ: Mapping[str, str]) -> bytes:
        """The key of unit hashes, 16 to 64 bytes: as configured, else made here once."""
        own = self.path / _OWN_KEY
        if config.unit_key_env is None and config.unit_key_file is None and not own.exists():
            write_atomically(own, secrets.token_bytes(_KEY_BYTES).hex().encode())
        return known_unit_key(self.path, config, environ)

    def replica_id(self) -> str:
        """16 hex digits by which other replicas know this one: made here once."""
        file = self.path / _REPLICA
        try:
            if not file.exists():
                write_atomically(file, secrets.token_hex(8).encode())
            found = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(f"cannot be used: {error}", where=str(file)) from error
        if re.fullmatch(r"[0-9a-f]{16}", found) is None:
            text = "must hold 16 hex digits; remove it, and a new one is made"
            raise StateError(text, where=str(file))
        return found


def known_unit_key(path: Path, config: OperatorConfig, environ: Mapping[str, str]) -> bytes:
    """The key of a gateway whose state directory is `path`, as it stands; never made anew.

    StateError says which place has none that can be read, never what is there.
    """
    if config.unit_key_env is not None:
        given = os.fsencode(environ.get(config.unit_key_env, "").strip())
        return _long_enough(given, f"environment variable {config.unit_key_env}")
    file = config.unit_key_file or path / _OWN_KEY
    try:
        given = file.read_bytes()
    except OSError as error:
        raise StateError(f"cannot be read: {error.strerror}", where=str(file)) from error
    if config.unit_key_file is not None:
        return _long_enough(given.strip(), str(file))
    try:
        key = bytes.fromhex(given.decode())
    except ValueError:
        key = b""
    return _long_enough(key, str(file))


def key_id(key: bytes) -> str:
    """8 hex digits that tell whether two replicas have the same unit key, and not the key."""
    return blake2b(key, digest_size=4, person=b"unit key id").hexdigest()


def _long_enough(key: bytes, where: str) -> bytes:
    if not _SHORTEST_KEY <= len(key) <= 64:
        raise StateError(
            f"a unit key has {_SHORTEST_KEY} to 64 bytes. Given: {len(key)} bytes", where=where
        )
    return key


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` (0600) so that a reader or a crash sees the old or the new, never a part."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(fd, left) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
