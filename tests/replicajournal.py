"""One replica's journal, as its front writes it, and the shipper beside it."""

from __future__ import annotations

from pathlib import Path

from doorinmemory import InMemoryDoor

from gateway.chunks import ChunkKey
from gateway.journal import Journal
from gateway.shared.shipping import ShippedStatus, Shipper
from gateway.timestamps import rfc3339

WRITER = "a1b2c3d4"
BEGUN = 1_764_000_000.0
ROOM = 1 << 30


class Replica:
    """A front's journal and the shipper beside it, with a clock."""

    def __init__(self, folder: Path, cap: int = ROOM, writer: str = WRITER) -> None:
        self.folder = folder
        self.door = InMemoryDoor()
        self.now = BEGUN
        self.lines = 0
        self.cap = cap
        self.begin(writer)
        self.restart()

    def begin(self, writer: str) -> None:
        self.journal = Journal(
            self.folder,
            writer,
            limit_bytes=ROOM,
            header=lambda: {"sample_rows": "all", "features": "none"},
        )
        self.journal.recover()

    def restart(self) -> None:
        """The shipper is killed, and begins anew."""
        self.shipper = Shipper(self.door, self.folder, self.cap, clock=lambda: self.now)

    def write(self, count: int = 1, size: int = 0) -> None:
        for _ in range(count):
            self.lines += 1
            line = b'{"t":"log","n":%d,"x":"%s"}\n' % (self.lines, b"x" * size)
            self.journal.append(line, 1, rfc3339(self.now))

    def sealed(self, count: int = 1, size: int = 0) -> ChunkKey:
        self.write(count, size)
        number = self.journal.open_chunk
        self.journal.seal()
        return ChunkKey(self.journal.writer, number)

    def ship(self) -> ShippedStatus:
        return self.shipper.step(lambda: False)

    def on_disk(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }
