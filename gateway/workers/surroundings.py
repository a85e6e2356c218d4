"""What every keeper of a branch shares: the rest of the gateway, and how long things may take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.config.trust import TrustConfig
from gateway.environments.keeping import Environments, Recipe
from gateway.metrics import Metrics
from gateway.names import Branch, Fingerprint
from gateway.workers.crew import Lease
from gateway.workers.jobs import Answer, Job
from gateway.workers.launch import Launch
from gateway.workers.spares import Spares


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds. A worker may take `timeouts` times the branch's
    timeout for one frame, but at least `frame`. A swap waits `naming` for the commit's name."""

    load: float = 120.0
    #: A shadow's workers get what the others leave of the processor.
    shadow_load: float = 600.0
    naming: float = 10.0
    frame: float = 30.0
    timeouts: float = 10.0
    first_wait: float = 0.5
    longest_wait: float = 30.0

    def wait(self, failures: int) -> float:
        """Before the next try after so many failures in a row; the first is at once."""
        if failures <= 1:
            return 0.0
        return min(self.longest_wait, self.first_wait * 2.0 ** min(failures - 2, 30))


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every keeper needs of the rest of the gateway."""

    metrics: Metrics
    lease: Callable[[Fingerprint], Lease]
    answered: Callable[[list[tuple[Job, Answer]]], None]
    decided: Callable[[Branch, str, str, str, dict[str, Any]], None]
    logged: Callable[[Branch, str, str, str, str], None]
    spares: Spares
    environments: Environments
    launch: Launch = field(default_factory=Launch)
    patience: Patience = field(default_factory=Patience)
    trust: TrustConfig = field(default_factory=TrustConfig)
    now: Callable[[], datetime] = _now

    def recipe(self, environment: str) -> Recipe | None:
        """How the environment of a branch with this setting is built; None: the gateway's own."""
        return self.environments.recipe if environment == "branch" else None
