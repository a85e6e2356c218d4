"""A prediction that is asked of a branch by its name, whoever the user is: for trying one out.

Three forms: the header `Gateway-Branch`, `?branch=` and POST /branches/{branch}/predict.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.types import Scope

from gateway.errors import RequestError
from gateway.web.units import Headers, decoded

HEADER = "Gateway-Branch"
_KEY = HEADER.lower().encode()
#: Of a query, of which only `branch` is read.
_MOST_FIELDS = 100


class Asked(NamedTuple):
    """The branch that was named, as it was written, and where."""

    text: str
    where: str


def asked_in(scope: Scope) -> Asked | None:
    """What path or query name; RequestError where they name two."""
    found = scope.get("path_params", {}).get("branch")
    asked = None if found is None else Asked(found, "path")
    try:
        query = parse_qsl(
            scope.get("query_string", b"").decode("ascii", "replace"),
            keep_blank_values=True,
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise RequestError(f"at most {_MOST_FIELDS} fields", where="query") from None
    for name, value in query:
        if name == "branch":
            asked = _both(asked, Asked(value, "?branch"))
    return asked


def with_header(asked: Asked | None, headers: Headers) -> Asked | None:
    """The same, with what the header names; on the way of every prediction."""
    for name, value in headers:
        if name == _KEY:
            asked = _both(asked, Asked(decoded(value), f"header {HEADER}"))
    return asked


def _both(one: Asked | None, other: Asked) -> Asked:
    if one is not None and one.text != other.text:
        text = f"asks for {other.text[:80]!r}, and {one.where} for {one.text[:80]!r}"
        raise RequestError(f"{text}: name one branch", where=other.where)
    return other
