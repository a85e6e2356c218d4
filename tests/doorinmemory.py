"""The door to Redis without Redis: what it promises of chunks, the state and the lease, in memory.

Its failures are the tests': `away` refuses every call, `lost_answers` does the work of the next
ones and refuses then, as a connection does that is cut in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.chunks import ChunkKey
from gateway.shared.door import SharedAway
from gateway.shared.held import Head, Held, Lease, Shipped


class InMemoryDoor:
    """Several may stand before one `Memory`: each is one replica's connection."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self.away = False
        self.lost_answers = 0
        self.calls: list[tuple[str, ChunkKey | None, int, int]] = []

    def ship(self, key: ChunkKey, offset: int, data: bytes, *, sealed: bool, cap: int) -> Shipped:
        self._before("ship", key, offset, len(data))
        shipped = self.memory.ship(key, offset, data, sealed=sealed, cap=cap)
        self._after()
        return shipped

    def chunks(self) -> dict[ChunkKey, Held]:
        self._before("chunks")
        return {
            key: Held(len(data), key in self.memory.sealed, self.memory.cuts.get(key))
            for key, data in self.memory.chunks.items()
        }

    def read(self, key: ChunkKey, offset: int, most: int) -> bytes:
        self._before("read", key, offset, most)
        return bytes(self.memory.chunks.get(key, b"")[offset : offset + most])

    def take(self, holder: str, seconds: float) -> Lease | None:
        self._before("take")
        if self.memory.lease is not None:
            return None
        self.memory.nonces += 1
        self.memory.lease = Lease(holder, str(self.memory.nonces))
        self._after()
        return self.memory.lease

    def give_up(self, lease: Lease) -> None:
        self._before("give_up")
        if self.memory.lease == lease:
            self.memory.lease = None

    def head(self) -> Head | None:
        self._before("head")
        return self.memory.head

    def blocks(self, indices: Iterable[int]) -> dict[int, bytes]:
        self._before("blocks")
        return {one: self.memory.blocks[one] for one in indices if one in self.memory.blocks}

    def put_state(self, lease: Lease, head: Head, changed: Mapping[int, bytes]) -> bool:
        self._before("put_state")
        if self.memory.lease != lease:
            return False
        self.memory.head = head
        self.memory.blocks |= changed
        self._after()
        return True

    def cut(self, lease: Lease, key: ChunkKey, at: int, size: int | None = None) -> bool:
        self._before("cut", key, at)
        if self.memory.lease != lease:
            return False
        self.memory.cut(key, at, size)
        self._after()
        return True

    def call_done(
        self, lease: Lease, keys: Iterable[ChunkKey], cuts: Mapping[ChunkKey, int] | None = None
    ) -> bool:
        self._before("call_done")
        if self.memory.lease != lease:
            return False
        self.memory.call_done(keys, cuts)
        self._after()
        return True

    def sent(self) -> int:
        """Bytes of all that was shipped since the last question."""
        found = sum(size for name, _, _, size in self.calls if name == "ship")
        self.calls.clear()
        return found

    def _before(self, name: str, key: ChunkKey | None = None, offset: int = 0, n: int = 0) -> None:
        self.calls.append((name, key, offset, n))
        if self.away:
            raise SharedAway("connection refused", where="redis")

    def _after(self) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
            raise SharedAway("no answer within 2 s", where="redis")


class RememberedCuts(dict[ChunkKey, int]):
    """Where chunks were cut, as a holder remembers it."""

    def known(self) -> Mapping[ChunkKey, int]:
        return self

    def learn(self, key: ChunkKey, cut: int) -> None:
        self[key] = cut


class Memory:
    """What Redis holds."""

    def __init__(self) -> None:
        self.nonces = 0
        self.empty()

    def empty(self) -> None:
        """It is restarted without its data."""
        self.chunks: dict[ChunkKey, bytearray] = {}
        self.sealed: set[ChunkKey] = set()
        #: Chunks that were ended, of those that are held.
        self.cuts: dict[ChunkKey, int] = {}
        #: With where they were cut.
        self.done: dict[ChunkKey, int | None] = {}
        self.lease: Lease | None = None
        self.head: Head | None = None
        self.blocks: dict[int, bytes] = {}

    def expire(self) -> None:
        self.lease = None

    def ship(self, key: ChunkKey, offset: int, data: bytes, *, sealed: bool, cap: int) -> Shipped:
        has, cut = len(self.chunks.get(key, b"")), self.cuts.get(key)
        if key in self.done:
            return Shipped(has, done=True, cut=self.done[key])
        if offset > has or key in self.sealed:
            return Shipped(has, cut=cut)
        new = data[has - offset :]
        if cut is not None:
            new = new[: cut - has]
            sealed = sealed or has + len(new) >= cut
        if new and self.size() + len(new) > cap:
            return Shipped(has, full=True, cut=cut)
        if new or sealed:
            self.chunks.setdefault(key, bytearray()).extend(new)
        if sealed:
            self.sealed.add(key)
        return Shipped(has + len(new), cut=cut)

    def cut(self, key: ChunkKey, at: int, size: int | None) -> None:
        if key not in self.chunks or key in self.done:
            return
        touched = key in self.sealed or key in self.cuts
        if size is not None and (len(self.chunks[key]) != size or touched):
            return
        if at == 0:
            del self.chunks[key]
            self.sealed.discard(key)
            return
        del self.chunks[key][at:]
        self.cuts[key] = at
        if len(self.chunks[key]) == at:
            self.sealed.add(key)

    def size(self) -> int:
        return sum(map(len, self.chunks.values()))

    def call_done(
        self, keys: Iterable[ChunkKey], cuts: Mapping[ChunkKey, int] | None = None
    ) -> None:
        for key in keys:
            self.chunks.pop(key, None)
            self.cuts.pop(key, None)
            self.sealed.discard(key)
            self.done[key] = (cuts or {}).get(key)

    def files(self) -> Mapping[str, bytes]:
        """What a folder must hold that follows it."""
        return {
            key.file if key in self.sealed else key.file.replace(".jsonl", ".open"): bytes(data)
            for key, data in self.chunks.items()
        }
