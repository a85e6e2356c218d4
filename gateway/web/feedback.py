"""POST /feedback takes outcomes in; GET /feedback/{request_id} says what became of them.

An outcome is in the journal before its sender is told that it was taken: it is either recorded or
refused. To send it again is safe, since the join counts each once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.chunks import Outcome
from gateway.errors import BodyTooLarge, RequestError, UnavailableError
from gateway.experiments.feedback import Judged, OutcomeState, items_in, judge
from gateway.experiments.metrics import Metric
from gateway.metrics import Metrics
from gateway.names import InvalidName, RequestId
from gateway.recording import Recorder
from gateway.web.bodies import ClientGone, read_body
from gateway.web.errors import describe, json_response

#: Items that are judged between two looks at everyone else's requests.
_SLICE = 50

_NONE_YET = "no outcome of this request is known; one is shown about a second after it was sent"


class Feedback:
    """The two endpoints, and what they count."""

    def __init__(
        self,
        recorder: Recorder,
        counted: Metrics,
        *,
        metrics: Callable[[], Mapping[str, Metric]],
        outcomes: Callable[[RequestId], list[OutcomeState]],
        most_bytes: Callable[[], int],
    ) -> None:
        """`metrics` are those in force, by name; `outcomes` may block."""
        self._recorder = recorder
        self._items = counted.feedback_by
        self._refused = counted.feedback_refused_by
        self._metrics = metrics
        self._outcomes = outcomes
        self._most_bytes = most_bytes

    async def take(self, request: Request) -> Response:
        try:
            body = await read_body(request.scope, request.receive, self._most_bytes())
            items, alone = items_in(body)
            judged = await self._record(items)
        except ClientGone:
            return Response(status_code=400)  # which nobody reads
        except BodyTooLarge as error:
            self._refused["too_large"].inc()
            status, text, headers = describe(error)
            # A rest that is short is read over; this one may never end.
            return json_response(text, status, {**headers, "Connection": "close"})
        except RequestError:
            self._refused["unreadable"].inc()
            raise
        except UnavailableError:
            self._refused["journal_full"].inc()
            raise
        for word, number in Counter(one.status for one in judged).items():
            self._items[word].inc(number)
        answer = judged[0] if alone else {"items": judged}
        return json_response(msgspec.json.encode(answer), 202)

    async def _record(self, items: list[msgspec.Raw]) -> list[Judged]:
        """Judge them all, and record those that say something, in one write."""
        metrics, now = self._metrics(), time.time()
        judged: list[Judged] = []
        outcomes: list[Outcome] = []
        for place, item in enumerate(items, start=1):
            told, outcome = judge(item, metrics, now)
            judged.append(told)
            if outcome is not None:
                outcomes.append(outcome)
            if place % _SLICE == 0:
                await asyncio.sleep(0)  # [9 ms for a thousand]
        self._recorder.outcomes(outcomes)
        return judged

    async def show(self, request: Request) -> Response:
        try:
            request_id = RequestId(request.path_params["request_id"])
        except InvalidName as error:
            raise RequestError(str(error), where="request_id") from None
        found = await asyncio.to_thread(self._outcomes, request_id)
        answer: dict[str, object] = {"request_id": str(request_id), "items": found}
        if not found:
            answer["note"] = _NONE_YET
        return json_response(msgspec.json.encode(answer))
