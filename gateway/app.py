"""The composition root: constructors, wires, routes and the lifespan; nothing else.

Opening order is that of `_lifespan`; closing reverses it: no new requests (uvicorn), keepers of
change, workers drained, the last chunk handed over, the monitor's last commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.config import Config
from gateway.config.document import MOST_BYTES
from gateway.errors import GatewayError
from gateway.journal import Journal
from gateway.layout import Kind
from gateway.metrics import Metrics
from gateway.monitoring.child import MonitorChild
from gateway.monitoring.export import export
from gateway.monitoring.monitor_settings import SETTINGS_FILE, write_settings
from gateway.monitoring.monitor_status import PushNews
from gateway.names import Branch, Commit, Fingerprint
from gateway.recording import Recorder
from gateway.reload import Reload
from gateway.repositories.credentials import Credentials
from gateway.repositories.followed_file import FollowedFile
from gateway.repositories.following import Following
from gateway.repositories.kind import folder_of
from gateway.repositories.move import Move
from gateway.repositories.watcher import Watcher
from gateway.routing import Routing
from gateway.served import Served, ServedFile
from gateway.shadows import Shadows
from gateway.sources import IN_REPOSITORY, BranchSource, Source
from gateway.supervise import Keepers
from gateway.web.errors import gateway_error, http_error, unexpected
from gateway.web.health import Health
from gateway.web.predict import PATH, Predict
from gateway.web.predict_asgi import PredictApplication
from gateway.web.status import Status
from gateway.web.views import Views
from gateway.web.webhooks import Webhooks
from gateway.workers.fleet import Fleet

log = logging.getLogger(__name__)

#: Seconds the monitor has for its last push when the gateway ends.
LAST_PUSH = 15.0
#: Seconds that what served before a restart has for loading, before newer commits are looked for,
#: and those that a shadow has: the others' newer commits must not wait long for it.
_SERVED_LOADS = 120.0
_SHADOW_LOADS = 10.0


class Front:
    """The front process: every room, wired to the others."""

    def __init__(
        self,
        config: Config,
        source: Source,
        address: str,
        arrivals: Following,
        unit_key: bytes,
        *,
        git_environment: Mapping[str, str],
        credentials: Credentials,
        webhook_secret: bytes | None = None,
    ) -> None:
        """`config` is what `source` says now; `address` and `arrivals` are its repository's.

        The state directory is locked by the caller.
        """
        state = config.state_dir
        self.gave_up = False
        #: Set when the end is near: answers say that their connection closes.
        self.closing = threading.Event()
        #: Called when a keeper could not be kept: ends the server.
        self.on_give_up: Callable[[], None] = lambda: None
        self._git_environment = git_environment
        self._credentials = credentials
        self._address = address
        self._folder = folder_of(address)
        self._settings_file = state / SETTINGS_FILE
        self._pushes = PushNews()
        self._restoring: set[Branch] = set()
        self.metrics = Metrics()
        self._keepers = Keepers(
            give_up=self._give_up,
            died=lambda name: self.metrics.keeper_restarts.labels(name).inc(),
        )
        self.served = ServedFile(state / "served.json")
        self.served.read()
        fingerprints = {b: one.fingerprint for b, one in self.served.branches.items()}
        self.routing = Routing(config, unit_key, fingerprints)
        self.journal = Journal(
            state / "journal",
            secrets.token_hex(4),
            limit_bytes=config.monitoring.journal_bytes,
            header=self._chunk_header,
        )
        self.monitor = self._build_monitor(state / "monitor.json")
        self.recorder = Recorder(self.journal, self.routing, self.metrics, self.monitor.look)
        self.snapshots = arrivals.snapshots
        self.fleet = self._build_fleet(config, fingerprints)
        self.predict = Predict(self.routing, self.fleet, self.recorder, self.metrics)
        self.shadows = Shadows(self.fleet, self.recorder, self.metrics)
        self._name_shadows(config)
        self.arrivals = arrivals
        self._file = self._followed_file(source)
        self.watcher = self._build_watcher(config)
        self.webhooks = Webhooks(webhook_secret, self.watcher.look, self.metrics)
        self.reload = self._build_reload(source)

    def _build_reload(self, source: Source) -> Reload:
        return Reload(
            source,
            routing=self.routing,
            fleet=self.fleet,
            metrics=self.metrics,
            prepare=self._prepare,
            put_in_force=self._put_in_force,
            applied=self._applied,
            decided=self._config_decided,
            trouble=self._repository_trouble,
        )

    def _repository_trouble(self, branch: Branch) -> str | None:
        text: str | None = self.watcher.status()["branches"].get(branch, {}).get("text")
        return text

    def _build_monitor(self, said: Path) -> MonitorChild:
        # -P: what lies beside gateway.yaml must not stand in for modules.
        command = [sys.executable, "-P", "-m", "gateway", "monitor"]
        return MonitorChild(
            [*command, "--settings", str(self._settings_file)],
            self._git_environment,
            said,
            self._monitor_said,
            inherited=self._credentials.descriptors,
        )

    def _build_fleet(self, config: Config, known: Mapping[Branch, Fingerprint]) -> Fleet:
        return Fleet(
            branches=config.branches,
            limits=config.limits,
            privacy=config.monitoring.privacy,
            metrics=self.metrics,
            lease=self.snapshots.lease,
            answered=self.recorder.answered,
            decided=self._fleet_decided,
            logged=self.recorder.logged,
            known=known,
            spare_workers=config.spare_workers,
        )

    def _build_watcher(self, config: Config) -> Watcher:
        return Watcher(
            self.arrivals,
            _wanted(config),
            poll=config.poll,
            deliver=self._moved,
            trouble=self._trouble,
            polled=lambda result: self.metrics.polls_by[result].inc(),
            file=self._file,
        )

    @staticmethod
    def _followed_file(source: Source) -> FollowedFile | None:
        if not isinstance(source, BranchSource):
            return None
        return FollowedFile(source.branch, IN_REPOSITORY, MOST_BYTES + 1, source.offer)

    def _repository_status(self) -> dict[str, Any]:
        kind = "git" if self._folder is None else "folder"
        return {"kind": kind, **self.watcher.status(), **self.webhooks.status()}

    def _configuration(self) -> dict[str, Any]:
        trouble = self._file.trouble if self._file is not None else None
        return {**self.reload.status(), "trouble": trouble}

    def app(self) -> ASGIApp:
        """The ASGI application; its lifespan opens and closes everything."""
        status = Status(
            routing=self.routing,
            fleet=self.fleet,
            recorder=self.recorder,
            shadows=self.shadows,
            repository=self._repository_status,
            monitor=self.monitor.report,
            configuration=self._configuration,
            snapshots=self.routing.config.state_dir / "snapshots",
        )
        health = Health(status, self.metrics, self.closing.is_set)
        views = Views(status, self._export, self.routing.config.state_dir / "drift")
        starlette = Starlette(
            routes=[
                Route(PATH, PredictApplication(self.predict), methods=["POST"]),
                Route("/branches", status.branches),
                Route("/branches/{branch:path}/monitoring/{kind}.csv", views.csv),
                Route("/branches/{branch:path}/drift", views.drift),
                Route("/branches/{branch:path}", status.branch),
                Route("/webhooks/git", self.webhooks.git, methods=["POST"]),
                Route("/healthz", health.healthz),
                Route("/readyz", health.readyz),
                Route("/metrics", health.metrics),
            ],
            exception_handlers={
                GatewayError: gateway_error,
                HTTPException: http_error,
                Exception: unexpected,
            },
            lifespan=self._lifespan,
        )
        starlette.router.redirect_slashes = False
        return starlette

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        config = self.routing.config
        self._show_weights(config)
        recovered = await asyncio.to_thread(self.journal.recover)
        if recovered:
            log.info("%d chunks of an earlier run are handed over", recovered)
        await asyncio.to_thread(self.snapshots.open)
        self.monitor.remember()
        self._pushes.of(self.monitor.status)
        try:
            self._write_monitor_settings(config)
        except OSError as error:  # a full disk: serving matters more
            log.warning("the monitor keeps the settings it has: %s", error)
        # Without it rows wait on disk; nobody's request fails for that.
        self._keepers.start("monitor", self.monitor.run, tries=None)
        self._keepers.start("recorder", self.recorder.run)
        self._keepers.start("served", self.served.run)
        self._keepers.start("fleet", self.fleet.run)
        self._offer_served(config)
        self._keepers.start("watcher", self._watch)
        self._keepers.start("reload", self.reload.run)
        try:
            yield
        finally:
            for name in ("reload", "watcher"):
                await self._keepers.end(name)
            self.shadows.close()
            for name in ("fleet", "served", "recorder", "monitor"):
                await self._keepers.end(name)
            await self.recorder.cut()
            await self.monitor.stop(LAST_PUSH)
            await asyncio.to_thread(self.served.write)

    # Keepers

    def _give_up(self, name: str) -> None:
        self.gave_up = True
        self.on_give_up()

    async def _watch(self) -> None:
        """What served before a restart loads first: a newer, broken commit must not prevent it."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while self._restoring and loop.time() < begun + _SERVED_LOADS:
            await asyncio.sleep(0.05)
            config = self.routing.config
            late = loop.time() > begun + _SHADOW_LOADS
            self._restoring = {
                name
                for name in self._restoring & set(config.branches)
                if self.fleet.slot(name).state["serving"] is None
                and self.fleet.slot(name).state["state"] != "failed"
                and not (late and config.branches[name].shadow)
            }
        await self.watcher.run()

    def _offer_served(self, config: Config) -> None:
        for name in config.branches:
            served = self.served.branches.get(name)
            if served is None or not self.snapshots.has(served.fingerprint):
                continue
            root = config.state_dir / "snapshots" / served.fingerprint
            known = served.commit_known
            move = Move(name, served.tip, served.commit, known, served.fingerprint, root)
            self._restoring.add(name)
            self.fleet.offer(move)

    # What the rooms say to one another

    def _moved(self, move: Move) -> None:
        self.fleet.offer(move)
        self._remember_served(move.branch)

    def _fleet_decided(
        self, branch: Branch, commit: str, decision: str, reason: str, evidence: dict[str, Any]
    ) -> None:
        log.info("%s: %s", decision, reason, extra={"branch": branch, "commit": commit})
        self.recorder.decided(branch, commit, decision, reason, evidence)
        self._remember_served(branch)

    def _remember_served(self, branch: Branch) -> None:
        """After a swap or a quiet move: the split's epoch, and what a restart begins with."""
        state = self.fleet.slot(branch).state
        serving = state["serving"]
        if serving is None:
            return
        self.routing.arm_serves(branch, serving["fingerprint"])
        if state["quarantined"] is None:  # else tip and certainty are those of another content
            served = Served(
                Commit(state["tip"]),
                Commit(serving["commit"]),
                bool(state["commit_known"]),
                serving["fingerprint"],
            )
            self.served.note(branch, served)

    def _trouble(self, branch: Branch, tip: Commit | None, kind: str, text: str) -> None:
        if kind == "content" and tip is not None:
            # Where the person who pushed it will look.
            self.metrics.branch(branch).quarantined.set(1)
            self.recorder.decided(branch, tip, "quarantined", text, {"tip": tip})
            self.recorder.logged(branch, tip, "error", "gateway", text)
        else:
            log.warning("%s", text, extra={"branch": branch})

    def _monitor_said(self, status: dict[str, Any]) -> None:
        self.metrics.chunks_waiting.set(status["waiting"]["chunks"])
        for name, result in self._pushes.of(status):
            self.metrics.branch(name).pushes[result].inc()

    # Configuration

    async def _prepare(self, config: Config) -> None:
        """Want also the branches that only the new file names; the others stay as they are."""
        now = self.routing.config
        branches = {**config.branches, **now.branches}
        self.metrics.welcome(branches)
        await self.fleet.configure(branches, now.limits, now.monitoring.privacy)
        # What only the new file allows must become ready before it can be in force.
        most = max(config.limits.snapshot_bytes, now.limits.snapshot_bytes)
        self.watcher.configure({b: c.model for b, c in branches.items()}, now.poll, most)

    def _put_in_force(self, config: Config) -> None:
        # The open chunk's header names the old monitoring settings: it ends with them.
        self.recorder.seal()
        self.routing.apply(config)
        self._name_shadows(config)
        self._show_weights(config)

    async def _applied(self, config: Config) -> None:
        await self.fleet.configure(config.branches, config.limits, config.monitoring.privacy)
        self.fleet.spares.want(config.spare_workers)
        self.watcher.configure(_wanted(config), config.poll, config.limits.snapshot_bytes)
        await asyncio.to_thread(self._write_monitor_settings, config)
        self.metrics.keep(config.branches)

    def _config_decided(self, decision: str, reason: str, place: dict[str, str | None]) -> None:
        serving = self.fleet.slot(self.routing.config.baseline).state["serving"]
        commit = serving["commit"] if serving else ""
        self.recorder.decided(self.routing.config.baseline, commit, decision, reason, dict(place))

    def _name_shadows(self, config: Config) -> None:
        self.shadows.configure(config)
        self.predict.given = self.shadows.offer if config.shadows else None

    def _show_weights(self, config: Config) -> None:
        for name, share in self.routing.split.propensities.items():
            self.metrics.branch(name).weight.set(share)

    def _chunk_header(self) -> dict[str, Any]:
        monitoring = self.routing.config.monitoring
        return {
            "sample_rows": monitoring.sample_rows,
            "features": monitoring.features,
            "redact": list(monitoring.redact),
            "target": monitoring.target,
        }

    def _write_monitor_settings(self, config: Config) -> None:
        write_settings(self._settings_file, config, self._address, self._credentials)

    def _export(self, branch: Branch, kind: Kind) -> Iterator[bytes]:
        place = self._folder or self._address
        return export(place, branch, kind, self._git_environment, self._credentials)


def _wanted(config: Config) -> dict[Branch, str | None]:
    return {name: branch.model for name, branch in config.branches.items()}
