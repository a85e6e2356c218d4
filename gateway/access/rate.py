"""How often something may happen: a token bucket, pure but for the clock it is given."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from ipaddress import IPv6Address, IPv6Network


class TokenBucket:
    """`burst` at once, and `rate` a second in the long run."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that never go back."""
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled = clock()

    def take(self) -> float:
        """0 if it may happen now; else the seconds until it may."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


class Rates:
    """A bucket for each caller, of so many callers as are remembered: the last seen."""

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float], remembered: int = 4096
    ) -> None:
        self._new = partial(TokenBucket, rate, burst, clock)
        self._remembered = remembered
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, caller: str) -> float:
        """As the caller's own bucket says."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = self._new()
            if len(self._buckets) > self._remembered:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(caller)
        return bucket.take()


def network(address: str) -> str:
    """The address, or of IPv6 the network: one caller has all addresses of it."""
    if ":" not in address:
        return address
    try:
        found = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped or IPv6Network((int(found) >> 64 << 64, 64)))
