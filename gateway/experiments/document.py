"""The read-out as a document: what GET /experiment answers, and all its readers parse.

The one place that knows these shapes. None stands for what cannot be said, or has no bound.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.experiments.metrics import Direction, Kind, Role

#: The file's name in the state directory.
EXPERIMENT_FILE = "experiment.json"

#: `exploratory` ones are of secondary metrics: the same words, outside of the promise.
Word = Literal["insufficient", "running", "better", "worse", "equivalent", "invalid", "stale"]


class Bounds(msgspec.Struct, frozen=True):
    """An estimate and its always-valid interval."""

    estimate: float | None
    low: float | None
    high: float | None


class ArmFigures(msgspec.Struct, frozen=True):
    """What an arm adds up to of one metric. `value` is its mean or rate over the epochs."""

    units: int
    events: int
    outcomes: int = 0
    value: float | None = None


class Ratio(msgspec.Struct, frozen=True):
    """A check that what arrives falls on the two arms as their weights say."""

    mismatch: bool
    #: ln of the largest e-value so far, and of that at which it is a mismatch.
    log_e: float | None
    threshold: float
    p: float | None
    baseline: int
    candidate: int
    #: The candidate's part that the weights make of all.
    expected: float | None


class MetricReadout(msgspec.Struct, frozen=True):
    """One metric of a contrast, of what is mature."""

    name: str
    role: Role
    kind: Kind
    direction: Direction
    window: float
    margin: float | None
    planned_units: int
    status: Word
    reason: str
    #: How it is decided: a rate ratio, or a difference of means.
    method: Literal["exact", "asymptotic"]
    baseline: ArmFigures
    candidate: ArmFigures
    #: Candidate less baseline, in the metric's own unit.
    difference: Bounds | None = None
    #: As a part of the baseline's: 0.1 is ten percent more.
    relative: Bounds | None = None
    #: Smallest always-valid p, and ln of the largest e-value, over all looks.
    p: float | None = None
    log_e: float | None = None
    looks: int = 0
    alpha: float = 0.05
    #: End of the last time span whose outcomes are all in.
    as_of: str | None = None
    #: Units that were exposed after it.
    pending_units: int = 0
    expected_days: float | None = None
    #: The same as a sentence, or why nothing can be told.
    expected: str = ""
    #: Of outcomes by arm, where a missing one is unknown.
    arrivals: Ratio | None = None
    late: int = 0
    duplicate: int = 0
    warnings: tuple[str, ...] = ()


class GuardrailReadout(msgspec.Struct, frozen=True):
    """One guardrail, of everything up to now."""

    name: str
    breached: bool
    #: ln of the largest e-value so far, and of that at which it is a breach.
    log_e: float | None
    threshold: float
    margin: float
    baseline: ArmFigures
    candidate: ArmFigures
    reason: str


class PairedReadout(msgspec.Struct, frozen=True):
    """A shadow beside the baseline on the labelled rows that both predicted."""

    metric: str
    status: Word
    reason: str
    rows: int
    #: Rows on which one is right and the other is not.
    differing: int
    difference: Bounds | None = None
    p: float | None = None
    as_of: str | None = None


class EpochReadout(msgspec.Struct, frozen=True):
    """An epoch of a contrast."""

    epoch: str
    #: The candidate's part of the two arms' weights.
    share: float
    since: str
    until: str
    baseline_units: int
    candidate_units: int


class ContrastReadout(msgspec.Struct, frozen=True):
    """Everything about one candidate's content beside one content of the baseline."""

    contrast: str
    baseline: str
    candidate: str
    baseline_fingerprint: str
    candidate_fingerprint: str
    baseline_commit: str
    candidate_commit: str
    #: Are both contents the ones that are served now?
    current: bool
    shadow: bool
    #: The primary metric's, or why there is none.
    status: Word
    reason: str
    since: str
    until: str
    epochs: tuple[EpochReadout, ...] = ()
    sample_ratio: Ratio | None = None
    metrics: tuple[MetricReadout, ...] = ()
    guardrails: tuple[GuardrailReadout, ...] = ()
    paired: tuple[PairedReadout, ...] = ()
    #: Units seen in both arms, as weights moved them.
    multiple_units: int = 0
    #: Requests without a unit, by arm; and how many of them had each built-in event.
    without_unit: dict[str, dict[str, int]] = {}
    #: The part of the units that is kept, where there were too many.
    kept: float = 1.0
    adaptive: bool = False
    warnings: tuple[str, ...] = ()


class Feedback(msgspec.Struct, frozen=True):
    """What became of outcomes, all told."""

    accepted: int = 0
    late: int = 0
    duplicate: int = 0
    unknown: int = 0
    waiting: int = 0


class BranchAllocation(msgspec.Struct, frozen=True):
    """What the gateway itself made of a branch's weight, and why."""

    state: str
    share: float | None
    reason: str
    since: str


class ExperimentReadout(msgspec.Struct, frozen=True):
    """The whole page."""

    written: str
    baseline: str
    salt: str
    epoch: str | None
    contrasts: tuple[ContrastReadout, ...] = ()
    feedback: Feedback = Feedback()
    #: Requests that are no part of it, by reason.
    excluded: dict[str, int] = {}
    allocation: dict[str, BranchAllocation] = {}
    trouble: str | None = None
    warnings: tuple[str, ...] = ()

    def about(self, candidate: str) -> ExperimentReadout:
        """What it says of one candidate; what is told of all of them together stays."""
        return msgspec.structs.replace(
            self,
            contrasts=tuple(one for one in self.contrasts if one.candidate == candidate),
            allocation={name: one for name, one in self.allocation.items() if name == candidate},
        )


def encode(readout: ExperimentReadout) -> bytes:
    """As JSON; names that are valid by construction are plain texts there."""
    return msgspec.json.encode(readout, enc_hook=str)
