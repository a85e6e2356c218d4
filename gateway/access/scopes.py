"""The scopes: what a key, or anybody without one, may be allowed to do. Pure names.

`predict` and `feedback` are a service's, `read` is a person's or Prometheus', `operate` moves
users, and `override`, with `predict`, has a request answered by the branch that it names.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal, get_args

Scope = Literal["predict", "feedback", "operate", "override", "read"]

SCOPES: tuple[Scope, ...] = get_args(Scope)

#: What whoever reaches a gateway on its own machine may do, where there are no keys.
ON_LOOPBACK: tuple[Scope, ...] = ("predict", "feedback", "operate", "read")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener on `host`; a name may lead anywhere."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
