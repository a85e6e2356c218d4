"""A store that after each call is put into a Redis, brought to another folder and opened there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from memorydoor import MemoryDoor, MemoryRedis

from gateway.shared.state_copy import StateCopy
from gateway.store.sqlite import SqliteStore

#: What was put by a store of that folder, as an own process would find it again.
_REDIS: dict[Path, MemoryRedis] = {}


class MovingStore:
    """Every method of the store, each on another replica than the one before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._door = MemoryDoor(_REDIS.setdefault(folder, MemoryRedis()))
        self._redis = self._door.redis

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *exception: object) -> None:
        self._put()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            try:
                return getattr(self._store, name)(*args, **named)
            finally:
                self._put()
                self._open()

        return call

    def _open(self) -> None:
        generation = self._redis.head.generation if self._redis.head is not None else 0
        self._path = self._folder / str(generation) / "store.sqlite"
        self._path.parent.mkdir(exist_ok=True)
        self._copy = StateCopy(self._door, self._path)
        self._copy.pull(now=True)
        self._store = SqliteStore(self._path).__enter__()

    def _put(self) -> None:
        lease = self._door.take("moving", 1.0)
        assert lease is not None
        assert self._copy.push(lease)
        self._door.give_up(lease)
        self._copy.close()
        self._store.__exit__(None, None, None)
