"""GET /healthz, /readyz and /metrics."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from gateway.experiments.document import ExperimentReadout
from gateway.metrics import Metrics
from gateway.web.errors import json_response
from gateway.web.status import Status


class Health:
    """Liveness is answering at all; readiness is a loaded baseline and settled candidates."""

    def __init__(
        self,
        status: Status,
        metrics: Metrics,
        closing: Callable[[], bool],
        experiment: Callable[[], Awaitable[ExperimentReadout | None]],
    ) -> None:
        self._status = status
        self._metrics = metrics
        self._closing = closing
        self._experiment = experiment

    async def healthz(self, request: Request) -> Response:
        return json_response(b'{"status":"ok"}')

    async def readyz(self, request: Request) -> Response:
        waiting = self._status.waiting_for()
        word = "closing" if self._closing() else "waiting" if waiting else "ready"
        body = json.dumps({"status": word, "waiting_for": waiting}).encode()
        return json_response(body, 200 if word == "ready" else 503)

    async def metrics(self, request: Request) -> Response:
        self._status.gauge(self._metrics)
        self._metrics.experiment.show(await self._experiment())
        body, content_type = self._metrics.render()
        return Response(body, headers={"Content-Type": content_type})
