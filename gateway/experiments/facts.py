"""What `steering` is given to decide by, and what it gives back. Pure data, without numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from gateway.experiments.allocation import Order
from gateway.experiments.document import ContrastReadout
from gateway.experiments.memory import Memory
from gateway.names import Branch


class Command(msgspec.Struct, frozen=True):
    """An operator's word about a branch. `id` is its own; `at` is Unix time."""

    id: str
    action: Literal["hold", "release"]
    branch: str
    at: float
    #: Of a hold: nobody is to get the branch.
    out: bool = False
    reason: str = ""
    #: The name of the key it came with; else that of nobody in particular.
    by: str = "local"

    @property
    def operator(self) -> str:
        """Whose word it is, in a sentence."""
        return "an operator" if self.by == "local" else f"an operator ({self.by})"


@dataclass(frozen=True, slots=True)
class Ramp:
    """gateway.yaml's `ramp`: `steps` are percent of all users, `dwell` is seconds."""

    steps: tuple[float, ...]
    dwell: float
    min_units: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A branch other than the baseline, as it is now; no shadow."""

    branch: Branch
    #: `TeamConfig.configured` of it.
    configured: str
    weight: float
    #: What it serves by the newest rows; "" as long as nothing is known, and then nothing changes.
    fingerprint: str = ""
    commit: str = ""
    ramp: Ramp | None = None
    #: Of the contents that are served now; None before its first exposure.
    readout: ContrastReadout | None = None
    #: The worst verdict on a column of its last window, where it is one that holds a ramp.
    drift: Literal["alert", "critical"] | None = None
    #: Do its inputs differ from the baseline's, which a sound split cannot bring about?
    split_drift: bool = False
    #: Units that were assigned to it in the present step of its ramp, each once.
    units: int = 0
    #: When a request was last assigned to it, Unix time; also one without a unit.
    last_exposure: float | None = None


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """Of the primary binary metric, in an arm's present content: mature units and their events."""

    units: int
    events: int


@dataclass(frozen=True, slots=True)
class Adaptive:
    """That weights are to adapt (`allocation: thompson`), and by what."""

    metric: str
    #: Where the metric ought to go.
    direction: Literal["up", "down"]
    #: Of every arm that has mature units; also of the baseline.
    arms: Mapping[Branch, ArmCounts]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that there is to decide by at `now`, Unix time."""

    now: float
    baseline: Branch
    candidates: tuple[Candidate, ...]
    #: Of the baseline, as `Candidate.fingerprint`.
    baseline_fingerprint: str = ""
    baseline_commit: str = ""
    baseline_weight: float = 0.0
    #: The present epoch: a seed, with the number of the update.
    epoch: str = ""
    #: Those that wait, oldest first.
    commands: tuple[Command, ...] = ()
    #: None where weights are fixed, or no binary primary metric is there to adapt by.
    adaptive: Adaptive | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """A change, for the rows of monitoring/decisions/ and the log. `evidence` is plain JSON."""

    branch: Branch
    commit: str
    decision: str
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Steered:
    """What is to be in force from now on.

    `memory` is to be stored, and given back the next time; then `orders` are written (also one for
    content that is not served now: should it be again, it holds), and `taken` commands removed.
    Commands for branches that are not among the candidates are left to wait.
    """

    memory: Memory
    orders: dict[str, Order]
    decisions: tuple[Decided, ...] = ()
    taken: tuple[Command, ...] = ()
