"""`exclude` in gateway.yaml: which requests are no users, by patterns of their headers."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

MOST_PATTERNS = 100

#: Health checks, monitors and crawlers that say so. Never a library that a service may call with.
USER_AGENTS = (
    *("kube-probe/*", "GoogleHC/*", "ELB-HealthChecker/*", "Amazon-Route53-Health-Check-Service*"),
    *("Envoy/HC", "Consul Health Check", "Blackbox Exporter/*", "check_http/*"),
    *("*Pingdom*", "*StatusCake*", "*Site24x7*", "*Uptime-Kuma/*"),
    *("*bot/*", "*crawler*", "*spider*", "facebookexternalhit/*"),
)


def _header(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", value) is None:
        raise ValueError("must be the name of a request header, such as User-Agent")
    if value.lower() == "authorization":
        raise ValueError("must be another header: Authorization carries the caller's key")
    return value


def _pattern(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 200:
        raise ValueError('must be a pattern of 1 to 200 characters, such as "*bot/*"')
    return value


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


HeaderName = Annotated[str, BeforeValidator(_header)]
Patterns = Annotated[
    tuple[Annotated[str, BeforeValidator(_pattern)], ...],
    BeforeValidator(_listed),
    Field(min_length=1, max_length=MOST_PATTERNS),
]
