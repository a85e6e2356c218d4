"""The door to state_dir/snapshots: complete read-only directories, one per fingerprint.

Owns how they appear (built beside, then renamed), who holds them, and which are pruned. Knows
nothing of git or of what is in them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.errors import StateError
from gateway.names import Fingerprint, InvalidName

_BUILDING, _GOING = ".building-", ".going-"


class Lease:
    """Keeps one snapshot on disk until released; `root` is its directory."""

    __slots__ = ("_give_back", "_guard", "root")

    def __init__(self, root: Path, give_back: Callable[[], None]) -> None:
        self.root = root
        self._give_back: Callable[[], None] | None = give_back
        self._guard = threading.Lock()

    def release(self) -> None:
        """Give the snapshot free; again is nothing."""
        with self._guard:
            give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Snapshots:
    """The snapshots below `folder`. Thread-safe; `open` comes first."""

    def __init__(self, folder: Path, *, keep: int = 5) -> None:
        self.folder = folder.absolute()
        self.keep = keep
        self._leased: Counter[Fingerprint] = Counter()
        self._guard = threading.Lock()

    def open(self) -> None:
        """Make the folder; remove what a crash left half built or half deleted."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for entry in self.folder.iterdir():
            if entry.name.startswith((_BUILDING, _GOING)):
                _remove(entry)

    def has(self, fingerprint: Fingerprint) -> bool:
        return (self.folder / fingerprint).is_dir()

    def lease(self, fingerprint: Fingerprint) -> Lease:
        """Hold the snapshot; StateError if there is none of this fingerprint."""
        lease = self._lease_if_there(fingerprint)
        if lease is None:
            raise StateError(f"no snapshot {fingerprint}", where=str(self.folder))
        return lease

    def build(self, fingerprint: Fingerprint, write: Callable[[Path], None]) -> Lease:
        """The snapshot, leased; made by `write(empty directory)` if it is not there yet.

        It appears under its name only when complete, on disk and read-only.
        """
        lease = self._lease_if_there(fingerprint)
        while lease is None:
            beside = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=self.folder))
            try:
                write(beside)
                _seal(beside)
                with self._guard:
                    # Two branches may have built the same content at once; the first is as good.
                    if not self.has(fingerprint):
                        beside.rename(self.folder / fingerprint)
                _sync(self.folder)
            finally:
                if beside.exists():
                    _remove(beside)
            lease = self._lease_if_there(fingerprint)
        return lease

    def _lease_if_there(self, fingerprint: Fingerprint) -> Lease | None:
        with self._guard:
            if not self.has(fingerprint):
                return None
            self._leased[fingerprint] += 1
        return Lease(self.folder / fingerprint, lambda: self._give_back(fingerprint))

    def prune(self) -> list[Fingerprint]:
        """Remove all but the `keep` last used of the snapshots nobody holds; those removed."""
        with self._guard:
            free = [found for found in self.present() if not self._leased[found]]
            free.sort(key=lambda found: (self.folder / found).stat().st_mtime_ns, reverse=True)
            going = free[self.keep :]
            moved = [self._move_aside(found) for found in going]
        for folder in moved:
            _remove(folder)
        return going

    def present(self) -> list[Fingerprint]:
        """Those that are on disk."""
        found = []
        for entry in self.folder.iterdir():
            try:
                found.append(Fingerprint(entry.name))
            except InvalidName:
                continue
        return found

    def _move_aside(self, fingerprint: Fingerprint) -> Path:
        aside = Path(tempfile.mkdtemp(prefix=_GOING, dir=self.folder))
        return (self.folder / fingerprint).rename(aside)

    def _give_back(self, fingerprint: Fingerprint) -> None:
        with self._guard:
            self._leased[fingerprint] -= 1
            if not self._leased[fingerprint]:
                del self._leased[fingerprint]
                with contextlib.suppress(FileNotFoundError):
                    os.utime(self.folder / fingerprint)


def _seal(root: Path) -> None:
    """Make directories read-only and durable, from the leaves up; files already are."""
    for folder, _, _ in os.walk(root, topdown=False):
        _sync(Path(folder))
        Path(folder).chmod(0o555)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(root: Path) -> None:
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(stat.S_IRWXU)
    shutil.rmtree(root)
