"""All branches' keepers: who serves what is decided here and nowhere else.

A branch's trouble stays with its keeper; the fleet only adds, removes and closes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from gateway.config.sections import BranchConfig, LimitsConfig, Privacy
from gateway.config.trust import TrustConfig
from gateway.environments.keeping import Environments
from gateway.metrics import Metrics
from gateway.names import Branch, Fingerprint
from gateway.repositories.move import Move
from gateway.workers.crew import Lease
from gateway.workers.jobs import Answer, Job
from gateway.workers.keeper import Keeper
from gateway.workers.launch import Launch
from gateway.workers.slot import Slot
from gateway.workers.spares import Spares
from gateway.workers.surroundings import Patience, Surroundings


class Fleet:
    """Keeps every configured branch's workers at the newest move that loads.

    `answered` is called once for every frame with its good answers, before their futures are
    resolved. `decided` and `logged` are told what the people of a branch are to read; lines
    that a branch prints come to `logged` with level "info" and logger "output". `known` are the
    fingerprints that served before a restart: they are no news when they serve again.

    To be built where an event loop runs; only that loop's thread may use it.
    """

    def __init__(
        self,
        *,
        branches: Mapping[Branch, BranchConfig],
        limits: LimitsConfig,
        privacy: Privacy,
        metrics: Metrics,
        lease: Callable[[Fingerprint], Lease],
        answered: Callable[[list[tuple[Job, Answer]]], None],
        decided: Callable[[Branch, str, str, str, dict[str, Any]], None],
        logged: Callable[[Branch, str, str, str, str], None],
        environments: Environments,
        known: Mapping[Branch, Fingerprint] | None = None,
        spare_workers: int = 0,
        load_deadline: float = 120.0,
        launch: Launch | None = None,
        patience: Patience | None = None,
        trust: TrustConfig | None = None,
    ) -> None:
        self.spares = Spares(spare_workers, metrics.spare_workers)
        self._around = Surroundings(
            metrics,
            lease,
            answered,
            decided,
            logged,
            self.spares,
            environments,
            launch or Launch(),
            patience or Patience(load=load_deadline),
            trust=trust or TrustConfig(),
        )
        self._known = dict(known or {})
        self._limits = limits
        self._privacy = privacy
        self._keepers: dict[Branch, Keeper] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        for branch, config in branches.items():
            self._add(branch, config)

    def _add(self, branch: Branch, config: BranchConfig) -> None:
        self._keepers[branch] = Keeper(
            branch, config, self._limits, self._privacy, self._around, self._known.get(branch)
        )

    async def run(self) -> None:
        """Keep; on cancellation drain what is queued and in flight, then stop every worker."""
        try:
            await self.spares.run()
        finally:
            keepers = self._keepers.values()
            await asyncio.gather(
                *(keeper.close("the gateway is shutting down") for keeper in keepers),
                *self._leaving,
            )

    def offer(self, move: Move) -> None:
        """Take a branch's newest move; one of a branch that is not configured is ignored."""
        keeper = self._keepers.get(move.branch)
        if keeper is not None:
            keeper.offer(move)

    async def configure(
        self, branches: Mapping[Branch, BranchConfig], limits: LimitsConfig, privacy: Privacy
    ) -> None:
        """Add, remove and change branches.

        A removed one drains and stops in its own time. A change of `model`, `workers`, `memory`,
        `strict_columns`, `strict_versions`, `accelerate`, `shadow`, `environment`, `network`,
        `worker_scratch` or `privacy` is a load beside the workers there are.
        """
        self._limits, self._privacy = limits, privacy
        for branch in self._keepers.keys() - branches.keys():
            keeper = self._keepers.pop(branch)
            if keeper.known is not None:
                self._known[branch] = keeper.known
            task = asyncio.ensure_future(self._leave(keeper))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for branch, config in branches.items():
            keeper_ = self._keepers.get(branch)
            if keeper_ is None:
                self._add(branch, config)
            else:
                keeper_.configure(config, limits, privacy)

    async def _leave(self, keeper: Keeper) -> None:
        await keeper.close("the branch is no longer configured")
        if keeper.branch not in self._keepers:
            self.spares.forget(keeper.branch)

    def pids(self) -> dict[Branch, list[int]]:
        """The worker processes of each branch that have a place in it."""
        return {name: keeper.slot.pids for name, keeper in self._keepers.items()}

    def slot(self, branch: Branch) -> Slot:
        """KeyError if it is not configured."""
        return self._keepers[branch].slot
