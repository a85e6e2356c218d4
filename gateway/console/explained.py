"""GET /console/explain?unit=: why a user gets a branch, by what is in force this moment.

The id of the user is in the answer alone: it is neither logged nor kept.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import RequestError
from gateway.explaining import explain
from gateway.names import Unit
from gateway.reporting.explained import Explained, facts, sentences
from gateway.reporting.standing import parse_standing
from gateway.web.errors import json_response

MOST_CHARACTERS = 1000


class Explain:
    """Answers by the page that GET /branches gives, as `gateway explain --running` does."""

    def __init__(
        self, page: Callable[[], Awaitable[dict[str, Any]]], recorded: Callable[[str], Unit]
    ) -> None:
        """`recorded` is how a user's id stands in rows."""
        self._page = page
        self._recorded = recorded

    async def answer(self, request: Request) -> Response:
        unit = request.query_params.get("unit", "")
        if not unit or len(unit) > MOST_CHARACTERS:
            text = f"must be the id of a user, of 1 to {MOST_CHARACTERS} characters"
            raise RequestError(f"{text}. Given: {len(unit)} characters", where="?unit")
        body = json.dumps(await self._page()).encode()
        standing = parse_standing(body, "this gateway")
        found = explain(standing.split, unit)
        one = Explained(unit, standing, found, self._recorded(unit), None, None)
        answer = {**facts(one), "sentences": sentences(one)}
        content = json.dumps(answer, ensure_ascii=False).encode(errors="replace")
        return json_response(content, headers={"Cache-Control": "no-store"})
