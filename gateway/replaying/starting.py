"""What a snapshot's model is started with here: as where it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.config.environments import EnvironmentsConfig
from gateway.config.sections import BranchConfig
from gateway.environments.keeping import CACHE, Environments
from gateway.environments.uv import seen_by_uv
from gateway.names import Branch
from gateway.workers.containment import Containment
from gateway.workers.launch import Launch


@dataclass(frozen=True, slots=True)
class Starting:
    """Environments are built beside the snapshots and end with them: those of a gateway that runs
    are its own to prune. `kept` is where it keeps them, whose downloads are shared. `always` stands
    above what the settings say of a branch, which may be in them no more.
    """

    branches: Mapping[Branch, BranchConfig]
    always: str | None
    environ: Mapping[str, str]
    sandbox: str = "best-effort"
    environments: EnvironmentsConfig = field(default_factory=EnvironmentsConfig)
    kept: Path | None = None

    @asynccontextmanager
    async def launch(self, branch: Branch, root: Path) -> AsyncIterator[Launch]:
        """With what the branch's snapshot at `root` is started. LoadError, StateError."""
        state = root.parents[1]  # laid out as a gateway's
        launch = Launch(containment=Containment(self.sandbox, state))
        launch.containment.open()
        config = self.branches.get(branch) or BranchConfig()
        if (self.always or config.environment) != "branch":
            yield launch
            return
        cache = self.kept / CACHE if self.kept is not None and self.kept.is_dir() else None
        seen = seen_by_uv(self.environ)
        environments = Environments(state / "environments", self.environments, seen, cache=cache)
        environments.open()
        try:
            with await environments.equip(root, environments.recipe) as equipment:
                yield replace(launch, interpreter=equipment.interpreter)
        finally:
            environments.close()
