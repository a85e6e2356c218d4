"""What Redis holds of the replicas' common work, as typed values; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: Bytes of Redis that stay free at least: what is announced, put and buffered.
_SPARE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Shipped:
    """What became of a part of a chunk.

    `has` are the chunk's bytes that Redis holds now: where the next part begins. `done`: it is
    published and counted, nothing of it is needed any more. `full`: the cap keeps the part out.
    `cut`: it was ended there while its replica was away, and takes no byte beyond.
    """

    has: int
    done: bool = False
    full: bool = False
    cut: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A chunk in Redis: its bytes so far, whether more will come, and where it was cut."""

    size: int
    sealed: bool
    cut: int | None = None

    def ending_at(self, cut: int | None) -> Held:
        """What counts of it if it was cut there."""
        if cut is None:
            return self
        return Held(min(self.size, cut), self.sealed or self.size >= cut, cut)


class Memory(NamedTuple):
    """Bytes that a Redis uses for all, how many it may (0: no bound), and what it does then."""

    used: int
    most: int
    policy: str

    def room(self, held: int, beside: int) -> int | None:
        """How many bytes of chunks may be there next, with `held` of them there, and `beside` other
        bytes of ours, which may be there twice while they are replaced. None: no bound.

        Half of what is left, and asked anew: a string that grows takes up to twice its bytes.
        """
        if not self.most:
            return None
        spare = beside + max(_SPARE, self.most // 20)
        return held + max(self.most - self.used - spare, 0) // 2

    @property
    def warning(self) -> str | None:
        """What it may do to ours, in words."""
        if not self.most or self.policy == "noeviction":
            return None
        return (
            f"Redis evicts keys when its memory is full (maxmemory-policy {self.policy}): what is"
            " lost is sent again, for as long as it is on a replica's disk; give it noeviction"
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to be the one that publishes; `nonce` is another one each time it is taken."""

    holder: str
    nonce: str

    @property
    def token(self) -> str:
        """What stands in Redis as long as the lease is held; every write of the holder shows it."""
        return f"{self.holder}:{self.nonce}"


@dataclass(frozen=True, slots=True)
class Head:
    """Which state Redis holds: the file's bytes, and a digest of each of its blocks."""

    generation: int
    size: int
    digests: tuple[str, ...]
