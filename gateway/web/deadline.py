"""Gateway-Timeout-Ms: how long a request's caller waits."""

from __future__ import annotations

import time
from math import inf

from gateway.errors import UnusableHeader
from gateway.web.units import Headers

NAME = "Gateway-Timeout-Ms"

_KEY = NAME.lower().encode()
#: More of them are no time any more.
_DIGITS = 15
_QUOTED = 80


def deadline_in(headers: Headers) -> float:
    """When the caller stops waiting, by the clock of the event loop; UnusableHeader.

    Infinite where it does not say. Names of `headers` are in lower case.
    """
    for name, value in headers:
        if name == _KEY:
            return time.monotonic() + _milliseconds(value.strip(b" \t")) / 1000
    return inf


def _milliseconds(text: bytes) -> int:
    if text.isdigit() and len(text) <= _DIGITS and (found := int(text)) > 0:
        return found
    given = text[:_QUOTED].decode("ascii", "backslashreplace")
    raise UnusableHeader(
        f"must be a whole number of milliseconds above 0, such as 250. Given: {given!r}",
        where=f"header {NAME}",
    )
