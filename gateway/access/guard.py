"""The guard: whose request it is, whether it may do what it asks, and how often.

Knows the keys by their digests and what anybody may do; where these come from is `keeping`'s
business. Pure but for the clocks it is given. No key is kept but in the cache of `Authorization`
headers that were found good, and none is ever said.
"""

from __future__ import annotations

import base64
import binascii
import math
import time
from collections.abc import Callable, Sequence

from gateway.access.keys_file import ANONYMOUS, Key, digest_of
from gateway.access.rate import Rates, TokenBucket, network
from gateway.access.scopes import SCOPES, Scope
from gateway.config import OperatorConfig
from gateway.config.mistakes import listed
from gateway.errors import Forbidden, GatewayError, KeyNeeded, TooMany
from gateway.metrics import Metrics
from gateway.timestamps import rfc3339

Headers = Sequence[tuple[bytes, bytes]]
#: Address and port, where the transport has them.
Client = tuple[str, int] | None
Needs = frozenset[Scope]

PREDICT: Needs = frozenset({"predict"})
OVERRIDE: Needs = frozenset({"predict", "override"})

#: Wrong keys of one address: at once, and a second in the long run. They guess 2^256, so this
#: bounds noise; a right key is answered all the same, since many may share one address.
_TRIES, _TRIES_A_SECOND = 20, 0.2
#: Headers that were found good: forgotten all together, and whenever the keys change.
_REMEMBERED = 2048
_LONGEST = 1024
_HOW = "send it as `Authorization: Bearer KEY`, or as the password of HTTP Basic"


class Principal:
    """Whoever asks: a key, or anybody."""

    __slots__ = ("bucket", "expires", "name", "scopes")

    def __init__(
        self, name: str, scopes: Needs, expires: float = math.inf, bucket: TokenBucket | None = None
    ) -> None:
        self.name = name
        self.scopes = scopes
        self.expires = expires
        self.bucket = bucket


class Guard:
    """Admits requests by the keys in force."""

    def __init__(
        self,
        config: OperatorConfig,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives seconds that never go back, `now` Unix time."""
        self._refused = metrics.access_refused_by
        self._clock = clock
        self._now = now
        self._tries = Rates(_TRIES_A_SECOND, _TRIES, clock)
        self._keys: tuple[Key, ...] | None = None
        self._buckets: dict[tuple[str, float], TokenBucket] = {}
        self._by_digest: dict[str, Principal] = {}
        self._known: dict[bytes, tuple[Principal, bool]] = {}
        self.configure(config)

    def configure(self, config: OperatorConfig) -> None:
        """Put in force what needs no key, and the rates."""
        self._nobody = Principal(ANONYMOUS, frozenset(config.anonymous))
        access = config.access
        self._rates = access.rate and Rates(access.rate, _burst(access.rate), self._clock)
        self._pages = Rates(access.page_rate, _burst(2 * access.page_rate), self._clock)
        self.use(self._keys)

    def use(self, keys: tuple[Key, ...] | None) -> None:
        """Put these keys in force, in place of all others; None: a gateway without keys."""
        self._keys = keys
        before, self._buckets = self._buckets, {}
        self._by_digest = {}
        for key in keys or ():
            bucket = None
            if key.rate is not None:
                known = before.get((key.sha256, key.rate))
                bucket = known or TokenBucket(key.rate, _burst(key.rate), self._clock)
                self._buckets[key.sha256, key.rate] = bucket
            expires = key.expires.timestamp() if key.expires else math.inf
            # What anybody may do, a key may as well.
            scopes = self._nobody.scopes | frozenset(key.scopes)
            self._by_digest[key.sha256] = Principal(key.name, scopes, expires, bucket)
        self._known = {}
        #: Whether a prediction that asks for no branch needs no look at its caller at all.
        self.anybody_predicts = keys is None and not self._rates and self._nobody.scopes >= PREDICT

    def admit(self, headers: Headers, client: Client, needs: Needs) -> Principal:
        """Whose request it is; KeyNeeded, Forbidden or TooMany if it may not be answered.

        Names of `headers` are in lower case.
        """
        principal, basic = self._nobody, False
        if self._keys is not None:
            sent = None
            for name, value in headers:
                if name == b"authorization":
                    if sent is not None:
                        raise self._wrong(client, "malformed", "must be given once")
                    sent = value
            if sent is not None:
                # Found by hash, never compared by character: how long it takes says nothing.
                known = self._known.get(sent) or self._identified(sent, client)
                principal, basic = known
                if principal.expires <= self._now():
                    raise self._expired(principal, client)
        if not needs <= principal.scopes:
            raise self._lacking(principal, needs)
        if basic and "read" not in needs and _is_cross_site(headers):
            # A browser sends it along on its own, whichever page it was that asked.
            raise self._count(
                "cross_site",
                Forbidden(
                    "another site's page asked this with the password that the browser keeps",
                    where="Sec-Fetch-Site",
                ),
            )
        self._take(principal, client)
        return principal

    def admit_page(self, headers: Headers, client: Client, needs: Needs) -> Principal:
        """As `admit`, for what costs the front more than a prediction does."""
        principal = self.admit(headers, client, needs)
        caller = _address(client) if principal is self._nobody else f"key {principal.name}"
        if wait := self._pages.take(caller):
            raise self._too_many(wait, "pages of this caller: `access.page_rate`")
        return principal

    def _take(self, principal: Principal, client: Client) -> None:
        if principal.bucket is not None:
            if wait := principal.bucket.take():
                raise self._too_many(wait, f"requests of the key {principal.name}: its `rate`")
        elif (
            self._rates
            and principal is self._nobody
            and (wait := self._rates.take(_address(client)))
        ):
            raise self._too_many(wait, "requests of this address without a key: `access.rate`")

    # Whose key it is

    def _identified(self, sent: bytes, client: Client) -> tuple[Principal, bool]:
        scheme, _, rest = sent.strip(b" \t").partition(b" ")
        is_basic = scheme.lower() == b"basic"
        key = rest.strip(b" \t")
        if is_basic:
            key = _password(key)
        if not key or len(sent) > _LONGEST or not (is_basic or scheme.lower() == b"bearer"):
            raise self._wrong(
                client, "malformed", "must be `Bearer KEY`, or `Basic` with the key as password"
            )
        principal = self._by_digest.get(digest_of(key))
        if principal is None:
            raise self._wrong(client, "unknown", "this key is not known here, or not any more")
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        known = self._known[sent] = principal, is_basic
        return known

    # Refusals

    def _count(self, reason: str, error: GatewayError) -> GatewayError:
        self._refused[reason].inc()
        return error

    def _wrong(self, client: Client, reason: str, message: str) -> GatewayError:
        """What is said of a wrong key; after too many of them, only that."""
        if wait := self._tries.take(_address(client)):
            text = "too many wrong keys from this address"
            error = TooMany(text, where="Authorization", retry_after=math.ceil(wait))
            return self._count("attempts", error)
        return self._count(reason, KeyNeeded(message, where="Authorization"))

    def _expired(self, principal: Principal, client: Client) -> GatewayError:
        ended = rfc3339(principal.expires)
        return self._wrong(client, "expired", f"the key {principal.name} ended at {ended}")

    def _lacking(self, principal: Principal, needs: Needs) -> GatewayError:
        needed = _words(needs)
        if principal is not self._nobody:
            text = f"needs {needed}; the key {principal.name} has {_words(principal.scopes)}"
            error = Forbidden(text, where="Authorization")
            error.who = principal.name
            return self._count("scope", error)
        if self._keys is not None:
            text = f"needs an API key with {needed}: {_HOW}"
            return self._count("missing", KeyNeeded(text, where="Authorization"))
        text = (
            f"needs {needed}, and this gateway has no keys: gateway.yaml must name a file of them,"
            " `access: {keys_file: PATH}`, or say what needs none, as in"
            f" `access: {{anonymous: [{', '.join(_in_order(self._nobody.scopes | needs))}]}}`"
        )
        return self._count("scope", Forbidden(text, where="access"))

    def _too_many(self, wait: float, of: str) -> GatewayError:
        return self._count("rate", TooMany(f"too many {of}", retry_after=math.ceil(wait)))


def _burst(rate: float) -> int:
    """As many at once as a second brings."""
    return max(1, math.ceil(rate))


def _address(client: Client) -> str:
    return network(client[0]) if client else "unknown"


def _in_order(scopes: Needs) -> list[str]:
    return [scope for scope in SCOPES if scope in scopes]


def _words(scopes: Needs) -> str:
    names = _in_order(scopes)
    return f"the scope{'s' if len(names) > 1 else ''} {listed(names, 'and')}"


def _password(encoded: bytes) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""


def _is_cross_site(headers: Headers) -> bool:
    return any(
        name == b"sec-fetch-site" and value.strip().lower() == b"cross-site"
        for name, value in headers
    )
