"""The composition root: constructors, wires and the lifespan; nothing else.

Opening order is that of `Front.lifespan`; closing reverses it: no new requests (uvicorn), keepers
of change, workers drained, the last chunk handed over, the monitor's last commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp

from gateway import __version__
from gateway.access.guard import Guard
from gateway.access.keeping import Keeping
from gateway.allocations import Allocations
from gateway.answering import answering
from gateway.config import Config
from gateway.config.document import MOST_BYTES
from gateway.environments.keeping import Environments
from gateway.given import Given
from gateway.journal import Journal
from gateway.metrics import Metrics
from gateway.monitoring.beside import MonitorBeside
from gateway.monitoring.child import MonitorChild
from gateway.monitoring.ear import EAR_FILE
from gateway.monitoring.monitor_settings import SETTINGS_FILE, SHARED_FOLDER, write_settings
from gateway.monitoring.monitor_status import LookNews, PushNews
from gateway.names import Branch, Commit, Fingerprint
from gateway.recording import Recorder
from gateway.reload import Reload
from gateway.repositories.followed_file import FollowedFile
from gateway.repositories.following import Following
from gateway.repositories.kind import folder_of
from gateway.repositories.move import Move
from gateway.repositories.watcher import Watcher
from gateway.restoring import Restoring
from gateway.routing import Routing
from gateway.served import Served, ServedFile
from gateway.shadows import Shadows
from gateway.sources import IN_REPOSITORY, BranchSource, Source
from gateway.store.outcomes import outcomes_in
from gateway.supervise import Keepers
from gateway.timeline import Timeline
from gateway.traffic import Traffic
from gateway.vitals import Holders, Vitals
from gateway.web.feedback import Feedback
from gateway.web.predict import Predict
from gateway.web.webhooks import Webhooks
from gateway.workers.containment import Containment
from gateway.workers.fleet import Fleet
from gateway.workers.launch import Launch

log = logging.getLogger(__name__)

#: Seconds the monitor has for its last push when the gateway ends.
LAST_PUSH = 15.0


class Front:
    """The front process: every room, wired to the others."""

    def __init__(
        self,
        config: Config,
        source: Source,
        address: str,
        arrivals: Following,
        unit_key: bytes,
        given: Given,
        *,
        starts_monitor: bool = True,
    ) -> None:
        """`config` is what `source` says now; `address` and `arrivals` are its repository's.

        The state directory is locked by the caller; without `starts_monitor` others run one on it.
        """
        state = config.state_dir
        self.gave_up = False
        #: Set when the end is near: answers say that their connection closes.
        self.closing = threading.Event()
        #: Called when a keeper could not be kept: ends the server.
        self.on_give_up: Callable[[], None] = lambda: None
        self.given, self._address = given, address
        #: Where the rows are: a mounted folder, or the address of a repository.
        self.place = folder_of(address) or address
        self._settings_file = state / SETTINGS_FILE
        self._pushes, self._looks = PushNews(), LookNews()
        self.metrics = Metrics()
        self.timeline, self.traffic = Timeline(state), Traffic(self.metrics)
        self._keepers = Keepers(give_up=self._give_up, died=self._keeper_died)
        self.served = ServedFile(state / "served.json")
        self.served.read()
        fingerprints = {b: one.fingerprint for b, one in self.served.branches.items()}
        self.routing = Routing(config, unit_key, fingerprints)
        self.allocations = Allocations(state, self.routing, self.metrics)
        self.allocations.told = self.timeline.ordered
        self.journal = self._build_journal(config)
        self.monitor = self._build_monitor(state, starts_monitor)
        self.recorder = Recorder(self.journal, self.routing, self.metrics, self.monitor.look)
        self.arrivals, self.snapshots = arrivals, arrivals.snapshots
        self.environments = self._build_environments(config)
        self.fleet = self._build_fleet(config, fingerprints)
        self.restoring = Restoring(self.routing, self.fleet, self.served, arrivals)
        self.guard = Guard(config, self.metrics)
        self.keeping = Keeping(config, self.guard, self.metrics, given.keys, given.certificate)
        self.predict = Predict(self.routing, self.fleet, self.recorder, self.metrics, self.guard)
        self.feedback = self._build_feedback()
        self.shadows = Shadows(self.fleet, self.recorder, self.metrics)
        self.vitals = Vitals(self.metrics, state, self._processes)
        self._name_shadows(config)
        self.file = self._followed_file(source)
        self.watcher = self._build_watcher(config)
        self.webhooks = Webhooks(given.webhook_secret, self._git_server_called, self.metrics)
        self.reload = self._build_reload(source)
        #: Keepers without which every request is still answered; `answering` adds its own.
        self.aside: dict[str, Callable[[], Awaitable[None]]] = {
            "access": self.keeping.run,
            "vitals": self.vitals.run,
            "timeline": self.timeline.run,
            "traffic": self.traffic.run,
        }

    def _build_journal(self, config: Config) -> Journal:
        most = config.monitoring.journal_bytes
        folder, writer = config.state_dir / "journal", secrets.token_hex(4)
        return Journal(folder, writer, limit_bytes=most, header=self._chunk_header)

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

    def _build_monitor(self, state: Path, is_ours: bool) -> MonitorChild | MonitorBeside:
        said, heard = state / "monitor.json", self._monitor_said
        shares = self.given.redis is not None
        if not is_ours:
            return MonitorBeside(said, state / EAR_FILE, heard, shares=shares)
        # -P: what lies beside gateway.yaml must not stand in for modules.
        command = [sys.executable, "-P", "-m", "gateway", "monitor"]
        return MonitorChild(
            [*command, "--settings", str(self._settings_file)],
            self.given.git_environment,
            said,
            heard,
            shares=shares,
            inherited=self.given.descriptors,
        )

    def _build_fleet(self, config: Config, known: Mapping[Branch, Fingerprint]) -> Fleet:
        self.containment = Containment(config.sandbox, config.state_dir)
        return Fleet(
            branches=config.branches,
            limits=config.limits,
            privacy=config.monitoring.privacy,
            metrics=self.metrics,
            lease=self.snapshots.lease,
            answered=self.recorder.answered,
            decided=self._fleet_decided,
            logged=self.recorder.logged,
            environments=self.environments,
            known=known,
            spare_workers=config.spare_workers,
            trust=config.trust,
            launch=Launch(containment=self.containment),
        )

    def _build_environments(self, config: Config) -> Environments:
        folder, metrics = config.state_dir / "environments", self.metrics.environments
        return Environments(folder, config.environments, self.given.uv_environment, metrics)

    def _build_feedback(self) -> Feedback:
        state = self.routing.config.state_dir
        store = (state / SHARED_FOLDER if self.given.redis else state) / "store.sqlite"
        return Feedback(
            self.recorder,
            self.metrics,
            metrics=lambda: {metric.name: metric for metric in self.routing.config.measured},
            outcomes=partial(outcomes_in, store),
            most_bytes=lambda: self.routing.config.limits.body_bytes,
        )

    def _build_watcher(self, config: Config) -> Watcher:
        return Watcher(
            self.arrivals,
            _wanted(config),
            poll=config.poll,
            deliver=self._moved,
            trouble=self._trouble,
            polled=lambda result: self.metrics.polls_by[result].inc(),
            file=self.file,
        )

    @staticmethod
    def _followed_file(source: Source) -> FollowedFile | None:
        if not isinstance(source, BranchSource):
            return None
        return FollowedFile(source.branch, IN_REPOSITORY, MOST_BYTES + 1, source.offer)

    def app(self) -> ASGIApp:
        """The ASGI application; its lifespan opens and closes everything."""
        return answering(self)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        config = self.routing.config
        self.timeline.began(__version__)
        self.allocations.begin()
        recovered = await asyncio.to_thread(self.journal.recover)
        if recovered:
            log.info("%d chunks of an earlier run are handed over", recovered)
        await asyncio.to_thread(self.snapshots.open)
        await asyncio.to_thread(self.environments.open)
        await asyncio.to_thread(self.containment.open)
        self.monitor.remember()
        self._pushes.of(self.monitor.status)
        self._looks.of(self.monitor.status)
        try:
            self._write_monitor_settings(config)
        except OSError as error:  # a full disk: serving matters more
            log.warning("the monitor keeps the settings it has: %s", error)
        # Without it rows wait on disk; nobody's request fails for that.
        self._keepers.start("monitor", self.monitor.run, tries=None)
        self._keepers.start("recorder", self.recorder.run)
        self._keepers.start("served", self.served.run)
        self._keepers.start("allocations", self.allocations.run)
        self._keepers.start("fleet", self.fleet.run)
        await self.restoring.offer(config)
        self._keepers.start("watcher", self._watch)
        self._keepers.start("reload", self.reload.run)
        for name, run in self.aside.items():
            self._keepers.start(name, run, tries=None)
        try:
            yield
        finally:
            for name in (*self.aside, "reload", "watcher", "allocations"):
                await self._keepers.end(name)
            self.shadows.close()
            for name in ("fleet", "served", "recorder", "monitor"):
                await self._keepers.end(name)
            self.environments.close()
            await self.recorder.cut()
            await self.monitor.stop(LAST_PUSH)
            await asyncio.to_thread(self.served.write)
            await asyncio.to_thread(self.timeline.close)

    # Keepers

    def _give_up(self, name: str) -> None:
        self.gave_up = True
        self.closing.set()
        self.on_give_up()

    def _keeper_died(self, name: str) -> None:
        self.metrics.keeper_restarts.labels(name).inc()

    def _processes(self) -> Holders:
        monitor = self.monitor.pid  # none where it was started by others
        own = {"front": [os.getpid()], "spares": self.fleet.spares.pids}
        own |= {"monitor": [monitor]} if monitor is not None else {}
        return Holders(own, self.fleet.pids())

    async def _watch(self) -> None:
        await self.restoring.wait()
        await self.watcher.run()

    # What the rooms say to one another

    def _moved(self, move: Move) -> None:
        self.fleet.offer(move)
        self._remember_served(move.branch)

    def _fleet_decided(
        self, branch: Branch, commit: str, decision: str, reason: str, evidence: dict[str, Any]
    ) -> None:
        log.info("%s: %s", decision, reason, extra={"branch": branch, "commit": commit})
        self.recorder.decided(branch, commit, decision, reason, evidence)
        self.timeline.decided(branch, commit, decision, reason)
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
            self.timeline.decided(branch, tip, "quarantined", text)
            self.recorder.logged(branch, tip, "error", "gateway", text)
        else:
            log.warning("%s", text, extra={"branch": branch})
            self.timeline.note("trouble", kind, text, branch=branch)

    def _monitor_said(self, status: dict[str, Any]) -> None:
        self.metrics.chunks_waiting.set(status["waiting"]["chunks"])
        pushes = self._pushes.of(status)
        for name, result in pushes:
            self.metrics.branch(name).pushes[result].inc()
        self.timeline.pushed(pushes, status)
        self.timeline.drifted(status.get("drift"))
        if self._looks.of(status):
            self.watcher.look()

    def _git_server_called(self) -> None:
        self.watcher.look()
        if self.given.redis is not None:
            self.monitor.look_elsewhere()

    # Configuration

    async def _prepare(self, config: Config) -> None:
        """Want also the branches that only the new file names; the others stay as they are."""
        now = self.routing.config
        branches = {**config.branches, **now.branches}
        self.metrics.welcome(branches)
        self.environments.configure(config.environments)
        await self.fleet.configure(branches, now.limits, now.monitoring.privacy)
        # What only the new file allows must become ready before it can be in force.
        most = max(config.limits.snapshot_bytes, now.limits.snapshot_bytes)
        self.watcher.configure({b: c.model for b, c in branches.items()}, now.poll, most)

    def _put_in_force(self, config: Config) -> None:
        # The open chunk's header names the old monitoring settings: it ends with them.
        self.recorder.seal()
        self.routing.apply(config)
        self.keeping.configure(config)
        self._name_shadows(config)

    async def _applied(self, config: Config) -> None:
        self.environments.configure(config.environments)
        await self.fleet.configure(config.branches, config.limits, config.monitoring.privacy)
        self.fleet.spares.want(config.spare_workers)
        self.watcher.configure(_wanted(config), config.poll, config.limits.snapshot_bytes)
        await asyncio.to_thread(self._write_monitor_settings, config)
        self.metrics.keep(config.branches)

    def _config_decided(self, decision: str, reason: str, place: dict[str, str | None]) -> None:
        serving = self.fleet.slot(self.routing.config.baseline).state["serving"]
        commit = serving["commit"] if serving else ""
        self.recorder.decided(self.routing.config.baseline, commit, decision, reason, dict(place))
        self.timeline.configured(decision, reason)

    def _name_shadows(self, config: Config) -> None:
        self.shadows.configure(config)
        self.predict.given = self.shadows.offer if config.shadows else None

    def _chunk_header(self) -> dict[str, Any]:
        monitoring = self.routing.config.monitoring
        return {
            "sample_rows": monitoring.sample_rows,
            "features": monitoring.features,
            "redact": list(monitoring.redact),
            "target": monitoring.target,
        }

    def _write_monitor_settings(self, config: Config) -> None:
        file, address = self._settings_file, self._address
        write_settings(file, config, address, self.given.credentials, self.given.redis)


def _wanted(config: Config) -> dict[Branch, str | None]:
    return {name: branch.model for name, branch in config.branches.items()}
