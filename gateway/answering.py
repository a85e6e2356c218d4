"""What the front answers: the rooms of web/, wired to the front's other rooms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from gateway.console.events import Events
from gateway.console.explained import Explain
from gateway.console.page import Console
from gateway.console.snapshot import Snapshots
from gateway.intervals import Intervals
from gateway.layout import Kind
from gateway.monitoring.export import export
from gateway.names import Branch
from gateway.web.experiment import ExperimentPage
from gateway.web.health import Health
from gateway.web.openapi.serving import Documentation
from gateway.web.operating import Operating
from gateway.web.pages import application
from gateway.web.status import Status
from gateway.web.views import Views

if TYPE_CHECKING:
    from gateway.app import Front


def answering(front: Front) -> ASGIApp:
    """The ASGI application of a front."""
    state = front.routing.config.state_dir

    def repository() -> dict[str, Any]:
        kind = "git" if isinstance(front.place, str) else "folder"
        return {"kind": kind, **front.watcher.status(), **front.webhooks.status()}

    def configuration() -> dict[str, Any]:
        return {**front.reload.status(), "trouble": front.file and front.file.trouble}

    def published(branch: Branch, kind: Kind) -> Iterator[bytes]:
        return export(
            front.place, branch, kind, front.given.git_environment, front.given.credentials
        )

    status = Status(
        routing=front.routing,
        fleet=front.fleet,
        recorder=front.recorder,
        shadows=front.shadows,
        repository=repository,
        monitor=front.monitor.report,
        configuration=configuration,
        allocation=front.allocations.status,
        access=front.keeping.status,
        snapshots=state / "snapshots",
        told=front.arrivals.authors.get,
    )
    experiment = ExperimentPage(front.routing, front.monitor.experiments_trouble)
    return application(
        predict=front.predict,
        feedback=front.feedback,
        experiment=experiment,
        status=status,
        views=Views(status, published, state / "drift"),
        webhooks=front.webhooks,
        health=Health(status, front.metrics, front.closing.is_set, experiment.look),
        operating=Operating(front.routing),
        documentation=Documentation(lambda: front.routing.config).routes,
        guard=front.guard,
        console=_console(front, status, experiment).routes,
        lifespan=front.lifespan,
    )


def _console(front: Front, status: Status, experiment: ExperimentPage) -> Console:
    closing = front.closing.is_set
    intervals = Intervals(front.routing.config.state_dir, experiment.look)
    snapshots = Snapshots(
        page=status.everything,
        readout=experiment.look,
        traffic=front.traffic,
        timeline=front.timeline,
        closing=closing,
    )
    events = Events(snapshots.encoded, closing)
    front.aside |= {"intervals": intervals.run, "console": events.run}
    return Console(
        snapshots=snapshots,
        events=events,
        explain=Explain(status.everything, front.routing.recorded),
        traffic=front.traffic,
        timeline=front.timeline,
        intervals=intervals,
        repository=str(front.routing.config.repository),
    )
