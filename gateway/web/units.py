"""Where a request says which user it is of: a header, a cookie or a field of the body."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import cookie_parser

from gateway.config.sections import UnitSource

#: Names in lower case, and values, as they came.
Headers = Sequence[tuple[bytes, bytes]]


class UnitSources:
    """The configured sources, in their order."""

    def __init__(self, sources: Sequence[UnitSource]) -> None:
        self._sources = [(s.kind, s.key, s.key.lower().encode("latin-1")) for s in sources]

    def find(self, headers: Headers, fields: dict[str, str]) -> str | None:
        """The first that is there and not empty; `fields` are those of the body."""
        for kind, key, name in self._sources:
            if kind == "header":
                found: str | None = header(headers, name)
            elif kind == "cookie":
                found = _cookie(headers, key)
            else:
                found = fields.get(key)
            if found:
                return found
        return None


def header(headers: Headers, name: bytes) -> str | None:
    """The first value of a header (its name in lower case), as UTF-8 if it is that."""
    for key, value in headers:
        if key == name:
            return decoded(value)
    return None


def decoded(value: bytes) -> str:
    """A header's value as text, without blanks at its ends."""
    text = value.strip(b" \t")
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _cookie(headers: Headers, name: str) -> str | None:
    found = header(headers, b"cookie")
    return cookie_parser(found).get(name) if found is not None else None
