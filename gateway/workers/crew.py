"""The workers of one snapshot: hired, replaced when they die, and let go with its lease."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec

from gateway.config.sections import Privacy
from gateway.errors import LoadError
from gateway.names import Commit
from gateway.repositories.move import Move
from gateway.workers import wire
from gateway.workers.jobs import Serving
from gateway.workers.launch import Launch, NotStarted
from gateway.workers.process import LoadTooSlow, NeedsCold, Worker
from gateway.workers.spares import Spares
from gateway.workers.wire import LogRecord, Ready

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
        logged: Callable[[Commit, LogRecord], None],
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
        self._launch = launch
        self._spares = spares
        self._load_deadline = load_deadline
        self._lease = lease
        self._logged = logged
        self._dropped = dropped
        self._open = ExitStack()
        self.root = move.root
        self._retired = False

    async def open(self) -> Ready:
        """Take the lease and load the first worker, then the others; all or none."""
        self.root = self._open.enter_context(self._lease()).root
        ready = self.ready = (await self.hire())[1]
        self.serving = Serving(
            self.move.branch,
            self.move.commit,
            self.move.fingerprint,
            ready.columns,
            ready.classes,
        )
        # The first has shown that it loads; the others only cost time.
        tasks = [asyncio.ensure_future(self.hire()) for _ in range(1, self.order.workers)]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        return ready

    async def hire(self) -> tuple[Worker, Ready]:
        """One more loaded worker. LoadError or NotStarted, and nothing left behind.

        A spare may load at once, but whatever fails in it is tried in a worker started for this:
        the verdict on a commit is never a spare's.
        """
        branch = self.move.branch
        with self._spares.hiring():
            spare = self._spares.take(branch, self._launch)
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
                self._launch, logged=self._record, line=self._printed, dropped=self._dropped
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
        self._spares.learn(self.move.branch, self._launch, ready.modules)
        return worker, ready

    def moved(self, move: Move) -> None:
        """A quiet move: later frames are answered as its commit."""
        self.move = move
        if self.serving is not None:
            self.serving = msgspec.structs.replace(self.serving, commit=move.commit)

    def _record(self, record: LogRecord) -> None:
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
