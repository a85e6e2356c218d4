"""A model in a worker of its own, which serves nobody, asked what it answers to requests.

As the gateway starts one: in another process, which is told nothing of the machine's secrets.
A request that ends the worker is found out and spoils no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.config.sections import BranchConfig, LimitsConfig, Privacy
from gateway.config.trust import LoadRules
from gateway.errors import LoadError, ModelError
from gateway.workers import wire
from gateway.workers.launch import Launch
from gateway.workers.process import Worker
from gateway.workers.wire import RawAnswer, Ready

#: Seconds a model may take to load, and a frame to be answered, as where it serves.
LOAD, FRAME = 600.0, 60.0
#: Requests in one frame.
_FRAME_REQUESTS = 64
_MOST_LINES = 3

#: What came of one request: an answer, or why none did.
Outcome = RawAnswer | ModelError


class Model:
    """One loaded model, as long as it is entered. LoadError, NotStarted.

    `root` holds what a branch holds, `file` is the model of several that is meant, and `where` is
    said of what cannot be loaded.
    """

    def __init__(
        self,
        root: Path,
        file: str | None,
        where: str,
        launch: Launch,
        *,
        config: BranchConfig,
        limits: LimitsConfig,
        rules: LoadRules,
    ) -> None:
        self.ready: Ready
        self._root = root
        self._file = file
        self._where = where
        self._launch = launch
        self._config = config
        self._limits = limits
        self._rules = rules
        self._worker: Worker | None = None

    async def __aenter__(self) -> Self:
        await self._load()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._worker is not None:
            await self._worker.stop()

    async def _load(self) -> Worker:
        worker = Worker(
            self._launch, logged=lambda _: None, line=lambda _: None, dropped=lambda _: None
        )
        await worker.start()
        bounds = (self._config.memory, self._limits.worker_memory)
        order = wire.order(
            self._root,
            self._file,
            strict=False,
            privacy=Privacy(),
            accelerate=self._config.accelerate,
            memory=min(filter(None, bounds), default=None),
            rules=self._rules,
            confinement=worker.confinement(
                network=self._config.network, room=self._limits.worker_scratch
            ),
            lock=self._launch.interpreter.lock,
            strict_versions=self._config.strict_versions,
        )
        try:
            self.ready = await worker.load(order, LOAD)
        except BaseException as error:
            worker.kill()
            await worker.stop()
            if not isinstance(error, LoadError):
                raise
            said = "; ".join(worker.tail[-_MOST_LINES:])
            raise LoadError(
                f"{error.message}{f' (it printed: {said})' if said else ''}",
                where=self._where,
            ) from error
        self._worker = worker
        return worker

    async def answers(self, payloads: Sequence[bytes]) -> list[Outcome]:
        """One outcome for each request, in order."""
        found: list[Outcome] = []
        for frame in _frames(payloads):
            worker = await self._loaded()
            try:
                found += await worker.ask_all(frame, FRAME)
            except ModelError:
                found += [await self._alone(payload) for payload in frame]
        return found

    async def _alone(self, payload: bytes) -> Outcome:
        worker = await self._loaded()
        try:
            return await worker.ask(payload, FRAME)
        except ModelError as error:
            return error

    async def _loaded(self) -> Worker:
        """A worker that may be asked: one that ended, or hangs, makes room for another."""
        worker = self._worker
        if worker is not None and not (worker.ended or worker.busy):
            return worker
        if worker is not None:
            self._worker = None
            worker.kill()
            await worker.stop()
        return await self._load()


def _frames(payloads: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(payloads), _FRAME_REQUESTS):
        yield payloads[start : start + _FRAME_REQUESTS]
