"""The door to the Redis that replicas share: bytes in, bytes out, what belongs together at once.

Owns the keys and their form. Knows nothing of what the bytes mean. Every call may be repeated: the
second time changes nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

import msgspec

from gateway.chunks import ChunkKey
from gateway.errors import GatewayError
from gateway.shared import scripts
from gateway.shared.calls import Calls, SharedAway
from gateway.shared.held import Head, Held, Lease, Memory, Shipped
from gateway.shared.place import RedisSettings

__all__ = ["Door", "OtherState", "SharedAway"]

#: Of the state's blocks in one call: bytes that also a slow network moves within the deadline.
_PIECE = 512 * 1024
#: Blocks asked for at once, each of at most 64 KiB.
_BLOCKS = _PIECE // (64 * 1024)
_STAGED_MS = 60_000
_DONE_SECONDS = 30 * 86400
_MOST_DONE = 500
_MOST_COMMANDS = 1000


class OtherState(GatewayError):
    """Redis holds another state than the one that the changed blocks go with; ask for its head."""


class _WrittenHead(msgspec.Struct, frozen=True):
    generation: int
    size: int
    blocks: tuple[str, ...]


class Door:
    """One Redis, for one repository's replicas. Thread-safe. All of it may raise SharedAway."""

    def __init__(self, settings: RedisSettings) -> None:
        """Nothing is connected yet: Redis may be away."""
        self._calls = Calls(settings)
        self._prefix = settings.prefix

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._calls.close()

    # Chunks

    def ship(self, key: ChunkKey, offset: int, data: bytes, *, sealed: bool, cap: int) -> Shipped:
        """Put a part of a chunk there. `sealed`: with this part it is whole.

        Bytes that are there already are passed over; behind a gap nothing is taken; nothing is
        taken either where all chunks would be more than `cap` bytes.
        """
        field = f"{key.writer}:{key.number}"
        keys = (
            self._key("chunk", field),
            self._key("chunks"),
            self._key("done", key.writer),
            self._key("bytes"),
        )
        given = (key.number, field, offset, data, int(sealed), cap)
        has, done, full, cut = self._calls.run(scripts.SHIP, keys, *given)
        return Shipped(has, bool(done), bool(full), cut if cut >= 0 else None)

    def chunks(self) -> dict[ChunkKey, Held]:
        """Every chunk that is held."""
        found = {}
        for field, said in self._hash("chunks").items():
            writer, _, number = field.partition(":")
            size, *words = said.decode().split()
            cut = int(words[-1]) if "cut" in words else None
            found[ChunkKey(writer, int(number))] = Held(int(size), "sealed" in words, cut)
        return found

    def read(self, key: ChunkKey, offset: int, most: int) -> bytes:
        """At most `most` bytes of a chunk; none at its end, or where it is not held."""
        name = self._key("chunk", f"{key.writer}:{key.number}")
        found: bytes = self._calls.do("GETRANGE", name, offset, offset + most - 1)
        return found

    def cut(self, lease: Lease, key: ChunkKey, at: int, size: int | None = None) -> bool:
        """End a chunk at that byte, for ever; at 0 it is forgotten. False without the lease.

        With `size`, nothing happens to one that has not that size, or to which something happened.
        """
        field = f"{key.writer}:{key.number}"
        keys = (
            *(self._key("lease"), self._key("chunk", field), self._key("chunks")),
            *(self._key("done", key.writer), self._key("bytes")),
        )
        given = (lease.token, key.number, field, at, size if size is not None else -1)
        return bool(self._calls.run(scripts.CUT, keys, *given))

    def call_done(
        self, lease: Lease, keys: Iterable[ChunkKey], cuts: Mapping[ChunkKey, int] | None = None
    ) -> bool:
        """Drop the bytes of chunks and remember that they are done; False without the lease.

        `cuts` are where some of them were cut: whoever has one of those is to keep the rest.
        """
        numbers: dict[str, list[str]] = {}
        for key in keys:
            cut = (cuts or {}).get(key)
            said = str(key.number) if cut is None else f"{key.number} cut {cut}"
            numbers.setdefault(key.writer, []).append(said)
        for writer, done in numbers.items():
            names = (*map(self._key, ("lease", "chunks", "bytes")), self._key("done", writer))
            start = (lease.token, _DONE_SECONDS, self._key("chunk", f"{writer}:"), f"{writer}:")
            for first in range(0, len(done), _MOST_DONE):
                some = done[first : first + _MOST_DONE]
                if not self._calls.run(scripts.CALL_DONE, names, *start, *some):
                    return False
        return True

    # The lease

    def take(self, holder: str, seconds: float) -> Lease | None:
        """The lease, if nobody has it."""
        lease = Lease(holder, secrets.token_hex(8))
        name = (self._key("lease"),)
        taken = self._calls.run(scripts.TAKE, name, lease.token, int(seconds * 1000))
        return lease if taken else None

    def renew(self, lease: Lease, seconds: float) -> bool:
        """It is held for `seconds` from now; False if it was lost."""
        name = (self._key("lease"),)
        return bool(self._calls.run(scripts.RENEW, name, lease.token, int(seconds * 1000)))

    def give_up(self, lease: Lease) -> None:
        """Somebody else may take it."""
        self._calls.run(scripts.GIVE_UP, (self._key("lease"),), lease.token)

    def holder(self) -> str | None:
        """Who has the lease."""
        token: bytes | None = self._calls.do("GET", self._key("lease"))
        return token.decode().rpartition(":")[0] if token is not None else None

    # The state

    def head(self) -> Head | None:
        """Which state is there."""
        found: bytes | None = self._calls.do("GET", self._key("state", "head"))
        if found is None:
            return None
        try:
            head = msgspec.json.decode(found, type=_WrittenHead)
        except msgspec.MsgspecError as error:
            raise SharedAway(
                f"what is there is no head: {error}", where=self._key("state", "head")
            ) from error
        return Head(head.generation, head.size, head.blocks)

    def blocks(self, indices: Iterable[int]) -> dict[int, bytes]:
        """Those blocks of the state, as they were put; what is not there is left out."""
        wanted, name = list(indices), self._key("state")
        found: dict[int, bytes] = {}
        for first in range(0, len(wanted), _BLOCKS):
            some = wanted[first : first + _BLOCKS]
            answers = self._calls.do("HMGET", name, *some)
            found |= {i: block for i, block in zip(some, answers, strict=True) if block is not None}
        return found

    def put_state(self, lease: Lease, head: Head, changed: Mapping[int, bytes]) -> bool:
        """Replace the state at once: `changed` blocks, and the others of `head` as they are there.

        False without the lease. OtherState if the others are not what `head` says, or if a later
        generation is there.
        """
        text = msgspec.json.encode(_WrittenHead(head.generation, head.size, head.digests))
        # Beside the state, so that it is replaced by one call of any size; a holder that dies
        # leaves what expires.
        staged = self._key("state", "staged", lease.nonce)
        for piece in _pieces(changed):
            self._calls.run(scripts.STAGE, (staged,), _STAGED_MS, *piece)
        names = (*map(self._key, ("lease", "state")), self._key("state", "head"), staged)
        answer = self._calls.run(scripts.PUT_STATE, names, lease.token, text, *changed)
        if answer == -1:
            raise OtherState("holds other blocks than the changed ones go with", where="redis")
        if answer == -2:
            later = f"holds a state that is not before generation {head.generation}"
            raise OtherState(later, where="redis")
        return bool(answer)

    # Documents

    def put_documents(self, lease: Lease, documents: Mapping[str, bytes | None]) -> bool:
        """Put what the holder says, None removes; the others stay. False without the lease."""
        names = (*map(self._key, ("lease", "documents")), self._key("documents", "at"))
        given: list[bytes | str] = []
        for name, value in documents.items():
            given += (name, b"-" if value is None else b"+" + value)
        return bool(
            self._calls.run(scripts.PUT_DOCUMENTS, names, lease.token, _beginning(), *given)
        )

    def documents(self) -> dict[str, bytes]:
        return self._hash("documents")

    def documents_at(self) -> int:
        """Another number whenever a document changed."""
        return int(self._calls.do("GET", self._key("documents", "at")) or 0)

    # What replicas tell one another

    def call_look(self) -> None:
        """Every replica is to look into the repository."""
        self._calls.run(scripts.COUNT_UP, (self._key("looks"),), _beginning())

    def looks(self) -> int:
        """Another number after each `call_look`."""
        return int(self._calls.do("GET", self._key("looks")) or 0)

    def send_command(self, command: bytes) -> None:
        """Leave an operator's word for the holder."""
        if not self._calls.run(scripts.SEND_COMMAND, self._commands(), command, _MOST_COMMANDS):
            text = f"{_MOST_COMMANDS} commands wait there already: no monitor takes them"
            raise SharedAway(text, where="redis")

    def commands(self) -> list[bytes]:
        """The words that wait, oldest first. They stay until they are dropped, so that none is lost
        with a holder that dies between reading and acting.
        """
        found: list[bytes] = []
        for name in reversed(self._commands()):
            found += self._calls.do("LRANGE", name, 0, -1)
        return found

    def bring_commands(self, lease: Lease) -> list[bytes] | None:
        """The same, for the holder, who will act upon them: none can be withdrawn any more.

        None without the lease.
        """
        names = (self._key("lease"), *self._commands())
        held, *found = self._calls.run(scripts.BRING_COMMANDS, names, lease.token)
        return found if held else None

    def withdraw_command(self, command: bytes) -> bool | None:
        """Whether it was taken back, and is acted upon by nobody; False if a holder brought it.

        None if it is not there: it never came, or is in force.
        """
        found = self._calls.run(scripts.WITHDRAW_COMMAND, self._commands(), command)
        return bool(found) if found >= 0 else None

    def drop_commands(self, lease: Lease, commands: Iterable[bytes]) -> bool:
        """They are in force. False without the lease."""
        names = (self._key("lease"), self._commands()[1])
        return bool(self._calls.run(scripts.DROP_COMMANDS, names, lease.token, *commands))

    def announce(self, replica: str, words: bytes) -> None:
        """What a replica says of itself."""
        self._calls.do("HSET", self._key("replicas"), replica, words)

    def replicas(self) -> dict[str, bytes]:
        return self._hash("replicas")

    def forget_replica(self, replica: str) -> None:
        self._calls.do("HDEL", self._key("replicas"), replica)

    def agree_on_key(self, key_id: str) -> str:
        """The id of the unit key that all replicas have: the first one that was said."""
        agreed: bytes = self._calls.run(scripts.AGREE, (self._key("key"),), key_id)
        return agreed.decode()

    # How large it is

    def size(self) -> tuple[int, int]:
        """Bytes of ours that Redis holds: of chunks, and of state and documents."""
        beside = 0
        for name in (self._key("state"), self._key("state", "head"), self._key("documents")):
            beside += self._calls.do("MEMORY", "USAGE", name, "SAMPLES", 0) or 0
        return int(self._calls.do("GET", self._key("bytes")) or 0), beside

    def memory(self) -> Memory:
        """How full Redis is."""
        lines: bytes = self._calls.do("INFO", "memory")
        said = dict(line.split(b":", 1) for line in lines.split(b"\r\n") if b":" in line)
        policy = said[b"maxmemory_policy"].decode()
        return Memory(int(said[b"used_memory"]), int(said[b"maxmemory"]), policy)

    def _commands(self) -> tuple[str, str]:
        return self._key("commands"), self._key("commands", "brought")

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    def _hash(self, name: str) -> dict[str, bytes]:
        pairs: list[bytes] = self._calls.do("HGETALL", self._key(name))
        return {k.decode(): v for k, v in zip(pairs[::2], pairs[1::2], strict=True)}


def _pieces(blocks: Mapping[int, bytes]) -> Iterator[list[int | bytes]]:
    """Index and block in turn, a call's worth at a time."""
    piece: list[int | bytes] = []
    size = 0
    for index, block in blocks.items():
        if piece and size + len(block) > _PIECE:
            yield piece
            piece, size = [], 0
        piece += (index, block)
        size += len(block)
    if piece:
        yield piece


def _beginning() -> int:
    """Where a counter begins: beyond all that it counted before Redis lost it."""
    return int(time.time() * 1_000_000)
