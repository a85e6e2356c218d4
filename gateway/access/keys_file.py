"""The door to the file of API keys: its text becomes `Key`s, or a `ConfigError` with all mistakes.

The file holds no key, only each one's SHA-256. A key is 256 random bits: nobody can try them out,
so that a slow hash, which passwords need, would protect nothing here and cost every first request
of a caller. Whoever reads the file cannot use what stands in it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.access.scopes import SCOPES, Scope
from gateway.config.document import parse_as, read_text
from gateway.config.mapping import Section
from gateway.errors import ConfigError

#: What a key that `gateway key` makes begins with, so that a leaked one is known for what it is.
PREFIX = "gw_"
MOST_KEYS = 1000
#: Who acts without a key: over HTTP, and on the machine itself.
ANONYMOUS, LOCAL = "anonymous", "local"

_KEY_BYTES = 32
_A_KEY = re.compile(rf"{PREFIX}[\w-]{{8,}}")


def _name(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[A-Za-z0-9][\w.@-]{0,63}", value) is None:
        raise ValueError("must be 1 to 64 letters, digits and _ . @ -, such as ci")
    if value in (ANONYMOUS, LOCAL):
        raise ValueError(f"must be another: {ANONYMOUS} and {LOCAL} are whoever has no key")
    return value


def _digest(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[0-9a-fA-F]{64}", value) is None:
        raise ValueError("must be the SHA-256 of the key, 64 hex digits, never the key itself")
    return value.lower()


def _moment(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            raise ValueError
        return found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be a moment with its zone, such as 2027-01-01T00:00:00Z") from None


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _some(value: Any) -> Any:
    if not isinstance(value, list) or not value:
        raise ValueError(f"must be a list of some of {', '.join(SCOPES)}")
    return tuple(value)


class Key(Section):
    """One entry. While a key is rotated two of them may have one name."""

    name: Annotated[str, BeforeValidator(_name)] = Field(
        description="Whose key it is, for the audit and the log."
    )
    sha256: Annotated[str, BeforeValidator(_digest)] = Field(
        description="The SHA-256 of the key, in hex."
    )
    scopes: Annotated[tuple[Scope, ...], BeforeValidator(_some)] = Field(
        description="What it may do: some of predict, feedback, operate, override, read.",
    )
    expires: Annotated[datetime, BeforeValidator(_moment)] | None = Field(
        default=None, description="When it ends, such as 2027-01-01T00:00:00Z; left out: never."
    )
    rate: float | None = Field(
        default=None, ge=0.01, le=1_000_000, description="Most requests a second that it may make."
    )


def _different(keys: tuple[Key, ...]) -> tuple[Key, ...]:
    seen: dict[str, str] = {}
    for key in keys:
        if key.sha256 in seen:
            text = f"must be another key: {key.name} has the one of {seen[key.sha256]}"
            raise ValueError(text)
        seen[key.sha256] = key.name
    return keys


class KeysFile(Section):
    """The whole file."""

    keys: Annotated[tuple[Key, ...], BeforeValidator(_listed), AfterValidator(_different)] = Field(
        max_length=MOST_KEYS, description="The keys that are known, each with name and scopes."
    )


def parse_keys(text: str, name: str) -> tuple[Key, ...]:
    """ConfigError with every mistake, and no key in it should one stand in the wrong place."""
    try:
        return parse_as(text, name, KeysFile).keys
    except ConfigError as error:
        hidden = [_A_KEY.sub(f"{PREFIX}…", mistake) for mistake in error.mistakes]
        raise ConfigError(hidden) from None


def read_keys(path: Path) -> tuple[Key, ...]:
    return parse_keys(read_text(path), str(path))


def new_key() -> str:
    """One that nobody has yet."""
    return PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def digest_of(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()
