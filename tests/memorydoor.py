"""What `Door` promises of lease, state and replicas, in memory, with a clock and faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from gateway.shared.door import OtherState, SharedAway
from gateway.shared.held import Head, Lease

T = TypeVar("T")


class MemoryRedis:
    """What is shared. `fail_at` n: the n-th call from now fails, before it is done or after."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = 0
        self.fail_at: int | None = None
        self.fails_after = False
        self.is_away = False
        self.nonces = 0
        self.empty()

    def empty(self) -> None:
        self.lease: tuple[Lease, float] | None = None
        self.head: Head | None = None
        self.blocks: dict[int, bytes] = {}
        self.replicas: dict[str, bytes] = {}

    @property
    def held(self) -> Lease | None:
        return self.lease[0] if self.lease is not None and self.now < self.lease[1] else None


class MemoryDoor:
    """One replica's way there."""

    def __init__(self, redis: MemoryRedis) -> None:
        self.redis = redis
        #: Called before each call, with its name.
        self.before: Callable[[str], None] = lambda name: None
        self.bytes_put = 0

    def _call(self, name: str, do: Callable[[], T]) -> T:
        self.before(name)
        redis = self.redis
        redis.calls += 1
        fails = redis.is_away or redis.calls == redis.fail_at
        if fails and not redis.fails_after:
            raise SharedAway("cut off")
        done = do()
        if fails:
            raise SharedAway("no answer")
        return done

    def take(self, holder: str, seconds: float) -> Lease | None:
        def do() -> Lease | None:
            if self.redis.held is not None:
                return None
            self.redis.nonces += 1
            lease = Lease(holder, str(self.redis.nonces))
            self.redis.lease = (lease, self.redis.now + seconds)
            return lease

        return self._call("take", do)

    def renew(self, lease: Lease, seconds: float) -> bool:
        def do() -> bool:
            if self.redis.held != lease:
                return False
            self.redis.lease = (lease, self.redis.now + seconds)
            return True

        return self._call("renew", do)

    def give_up(self, lease: Lease) -> None:
        def do() -> None:
            if self.redis.held == lease:
                self.redis.lease = None

        self._call("give_up", do)

    def holder(self) -> str | None:
        def do() -> str | None:
            return self.redis.held.holder if self.redis.held is not None else None

        return self._call("holder", do)

    def head(self) -> Head | None:
        return self._call("head", lambda: self.redis.head)

    def blocks(self, indices: Iterable[int]) -> dict[int, bytes]:
        def do() -> dict[int, bytes]:
            return {n: self.redis.blocks[n] for n in indices if n in self.redis.blocks}

        return self._call("blocks", do)

    def put_state(self, lease: Lease, head: Head, changed: Mapping[int, bytes]) -> bool:
        def do() -> bool:
            redis = self.redis
            if redis.held != lease:
                return False
            was = redis.head
            if was is not None and was.generation >= head.generation and was != head:
                raise OtherState("a later state is there")
            for n, digest in enumerate(head.digests):
                if n not in changed and (
                    was is None or was.digests[n : n + 1] != (digest,) or n not in redis.blocks
                ):
                    raise OtherState("other blocks are there")
            redis.blocks.update(changed)
            redis.blocks = {n: redis.blocks[n] for n in range(len(head.digests))}
            redis.head = head
            self.bytes_put += sum(map(len, changed.values()))
            return True

        return self._call("put_state", do)

    def announce(self, replica: str, words: bytes) -> None:
        self._call("announce", lambda: self.redis.replicas.__setitem__(replica, words))

    def replicas(self) -> dict[str, bytes]:
        return self._call("replicas", lambda: dict(self.redis.replicas))

    def forget_replica(self, replica: str) -> None:
        self._call("forget_replica", lambda: self.redis.replicas.pop(replica, None))
