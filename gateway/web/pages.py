"""Every path of the gateway, and who answers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.access.guard import Guard
from gateway.errors import GatewayError
from gateway.web.errors import gateway_error, http_error, unexpected
from gateway.web.experiment import ExperimentPage
from gateway.web.feedback import Feedback
from gateway.web.headers import SecurityHeaders
from gateway.web.health import Health
from gateway.web.operating import Operating
from gateway.web.permissions import guarded
from gateway.web.predict import PATH, Predict
from gateway.web.predict_asgi import PredictApplication
from gateway.web.status import Status
from gateway.web.views import Views
from gateway.web.webhooks import Webhooks


def application(
    *,
    predict: Predict,
    feedback: Feedback,
    experiment: ExperimentPage,
    status: Status,
    views: Views,
    webhooks: Webhooks,
    health: Health,
    operating: Operating,
    documentation: Sequence[Route],
    guard: Guard,
    console: Sequence[Route],
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
) -> ASGIApp:
    """The ASGI application; `lifespan` opens and closes what its pages speak of."""
    asked = PredictApplication(predict)
    routes = [
        Route(PATH, asked, methods=["POST"]),
        Route("/feedback", feedback.take, methods=["POST"]),
        Route("/feedback/{request_id}", feedback.show),
        Route("/experiment", experiment.answer),
        Route("/branches", status.branches),
        Route("/branches/{branch:path}/monitoring/{kind}.csv", views.csv),
        Route("/branches/{branch:path}/drift", views.drift),
        Route("/branches/{branch:path}/predict", asked, methods=["POST"]),
        Route("/branches/{branch:path}/hold", operating.hold, methods=["POST"]),
        Route("/branches/{branch:path}/release", operating.release, methods=["POST"]),
        Route("/branches/{branch:path}", status.branch),
        Route("/webhooks/git", webhooks.git, methods=["POST"]),
        Route("/healthz", health.healthz),
        Route("/readyz", health.readyz),
        Route("/metrics", health.metrics),
        *documentation,
        *console,
    ]
    starlette = Starlette(
        routes=guarded(routes, guard),
        exception_handlers={
            GatewayError: gateway_error,
            HTTPException: http_error,
            Exception: unexpected,
        },
        lifespan=lifespan,
    )
    starlette.router.redirect_slashes = False
    # Outside of all: also around what fails in Starlette itself.
    return SecurityHeaders(starlette)
