"""The workers of one snapshot: hired, replaced when they die, and let go with its lease."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from gateway.config.sections import BranchConfig, LimitsConfig, Privacy
from gateway.config.trust import LoadRules
from gateway.environments.keeping import Equipment, Recipe
from gateway.errors import LoadError
from gateway.names import Commit
from gateway.repositories.move import Move
from gateway.workers import wire
from gateway.workers.jobs import Serving
from gateway.workers.launch import Launch, NotStarted
from gateway.workers.process import LoadTooSlow, NeedsCold, Worker
from gateway.workers.spares import Spares
from gateway.workers.wire import LogRecord, Ready, Told

log = logging.getLogger(__name__)


class Lease(Protocol):
    """Keeps a snapshot on disk while it is entered."""

    @property
    def root(self) -> Path: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be served: two equal orders need no reload."""

    fingerprint: str
    model: str | None
    workers: int
    strict_columns: bool
    privacy: Privacy
    accelerate: str
    #: Bytes that each worker may have.
    memory: int | None = None
    #: Its workers yield the processor to all others.
    shadow: bool = False
    rules: LoadRules = field(default_factory=LoadRules)
    #: How the branch's own environment is built; None where it has the gateway's.
    environment: Recipe | None = None
    strict_versions: bool = False
    #: Its workers may connect to others.
    network: bool = False
    #: Bytes of files that each worker may have written.
    scratch: int = 0

    @classmethod
    def of(
        cls,
        move: Move,
        config: BranchConfig,
        limits: LimitsConfig,
        privacy: Privacy,
        rules: LoadRules,
        environment: Recipe | None,
    ) -> Order:
        """What the settings of a branch make of its move."""
        return cls(
            move.fingerprint,
            config.model,
            config.workers,
            config.strict_columns,
            privacy,
            config.accelerate,
            min(filter(None, (config.memory, limits.worker_memory)), default=None),
            config.shadow,
            rules,
            environment,
            config.strict_versions,
            config.network,
            limits.worker_scratch,
        )


class Crew:
    """Owns the workers of one order and the lease on its snapshot.

    `deaths` counts those since the last answer; the slot sets it to 0 with every answer.
    """

    def __init__(
        self,
        move: Move,
        order: Order,
        *,
        launch: Launch,
        spares: Spares,
        load_deadline: float,
        lease: Callable[[], Lease],
        equip: Callable[[Path, Recipe], Awaitable[Equipment]],
        logged: Callable[[Commit, Told], None],
        dropped: Callable[[int], None],
    ) -> None:
        self.order = order
        self.move = move
        self.workers: list[Worker] = []
        self.deaths = 0
        self.ready: Ready | None = None
        self.serving: Serving | None = None
        self.probed = "unprobed"
        self.since = ""
        self.launch = launch
        #: What building its environment took.
        self.built_seconds = 0.0
        self._spares = spares
        self._load_deadline = load_deadline
        self._lease = lease
        self._equip = equip
        self._logged = logged
        self._dropped = dropped
        self._open = ExitStack()
        self.root = move.root
        self._retired = False

    async def open(self) -> Ready:
        """Take the leases and load the first worker."""
        self.root = self._open.enter_context(self._lease()).root
        if self.order.environment is not None:
            if not self.order.rules.code:
                raise LoadError(
                    "the branch says `environment: branch`, and packages are code, which"
                    " trust.formats of gateway.yaml does not allow"
                )
            equipment = await self._equip(self.root, self.order.environment)
            self._open.enter_context(equipment)
            self.built_seconds = equipment.seconds
            self.launch = replace(self.launch, interpreter=equipment.interpreter)
        ready = self.ready = (await self.hire())[1]
        self.serving = Serving(
            self.move.branch,
            self.move.commit,
            self.move.fingerprint,
            ready.columns,
            ready.classes,
        )
        return ready

    @property
    def missing(self) -> int:
        """How many workers its order has beyond those that there are."""
        return self.order.workers - len(self.workers)

    async def fill(self) -> None:
        """Load what is missing, all or none: the first has shown that it loads."""
        tasks = [asyncio.ensure_future(self.hire()) for _ in range(self.missing)]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def hire(self) -> tuple[Worker, Ready]:
        """One more loaded worker. LoadError or NotStarted, and nothing left behind.

        A spare may load at once, but whatever fails in it is tried in a worker started for this:
        the verdict on a commit is never a spare's.
        """
        branch = self.move.branch
        with self._spares.hiring():
            spare = self._spares.take(branch, self.launch)
            if spare is not None:
                worker = spare.hand_over(
                    logged=self._record, line=self._printed, dropped=self._dropped
                )
                try:
                    return await self._loaded(worker)
                except LoadTooSlow:
                    raise
                except (LoadError, NotStarted, NeedsCold) as error:
                    log.info("a spare could not load: %s", error, extra={"branch": branch})
            worker = Worker(
                self.launch, logged=self._record, line=self._printed, dropped=self._dropped
            )
            await worker.start()
            return await self._loaded(worker)

    async def _loaded(self, worker: Worker) -> tuple[Worker, Ready]:
        if self.order.shadow:
            worker.step_back()
        self.workers.append(worker)
        try:
            order = self.order
            ready = await worker.load(
                wire.order(
                    self.root,
                    order.model,
                    strict=order.strict_columns,
                    privacy=order.privacy,
                    accelerate=order.accelerate,
                    memory=order.memory,
                    rules=order.rules,
                    lock=self.launch.interpreter.lock,
                    strict_versions=order.strict_versions,
                    confinement=worker.confinement(network=order.network, room=order.scratch),
                ),
                self._load_deadline,
            )
        except BaseException as error:
            if tail := worker.tail:
                error.add_note("last output:\n" + "\n".join(tail))
            worker.kill()  # whatever it is loading is wanted no more
            await worker.stop()
            self.forget(worker)
            raise
        self._spares.learn(self.move.branch, self.launch, ready.modules)
        return worker, ready

    def moved(self, move: Move) -> None:
        """A quiet move: later frames are answered as its commit."""
        self.move = move
        if self.serving is not None:
            self.serving = msgspec.structs.replace(self.serving, commit=move.commit)

    def _record(self, record: Told) -> None:
        self._logged(self.move.commit, record)

    def _printed(self, line: str) -> None:
        if not self.order.privacy.withhold:  # what a branch prints may hold any value
            self._logged(self.move.commit, LogRecord("info", "output", line))

    def forget(self, worker: Worker) -> None:
        """A worker has ended; with the last of a retired crew goes the lease."""
        if worker in self.workers:
            self.workers.remove(worker)
        if self._retired and not self.workers:
            self._open.close()

    def retire(self) -> None:
        """No more hiring: the lease goes when the last worker has."""
        self._retired = True
        if not self.workers:
            self._open.close()

    async def close(self) -> None:
        """Stop every worker and let go of the snapshot."""
        self.retire()
        workers = list(self.workers)
        await asyncio.gather(*(worker.stop() for worker in workers))
        for worker in workers:
            self.forget(worker)


#: What the record of a decision to serve holds of `about`.
TOLD = ("versions", "accelerated", "environment", "saved_with")


def about(crew: Crew | None) -> dict[str, Any]:
    """What status says of what serves, its model and what that runs on; all None without one."""
    ready = crew.ready if crew is not None else None
    serving = crew.serving if crew is not None else None
    return {
        "serving": None
        if crew is None or serving is None
        else {
            "commit": serving.commit,
            "fingerprint": serving.fingerprint,
            "since": crew.since,
            "probed": crew.probed,
        },
        "columns": ready and ready.columns,
        "classes": ready and ready.classes,
        "kind": ready and ready.kind,
        "versions": ready and ready.versions,
        "accelerated": ready and ready.accelerated,
        "environment": crew and crew.launch.interpreter.story,
        "saved_with": ready and ready.saved_with,
    }
