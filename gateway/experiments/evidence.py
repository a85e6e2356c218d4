"""What a read-out is computed from, and by which terms: nothing else goes into it.

Pure data, without numpy. The monitor keeps it, and rows of monitoring/results/ tell it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.experiments.cells import Cell, CellKey
from gateway.experiments.contrasts import Contrast
from gateway.experiments.metrics import PAIRED, Metric


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed on beforehand. Metrics stand in the order of the read-out, without `off`."""

    metrics: tuple[Metric, ...]
    #: Of each metric: the candidates that are tried beside one another have shared it.
    alpha: float = 0.05
    guardrail_alpha: float = 0.01
    #: Have weights followed outcomes in any epoch of the contrast?
    adaptive: bool = False
    #: Buckets of units that are kept, of 256.
    kept: int = 256


@dataclass(frozen=True, slots=True)
class Evidence:
    """The sums of one contrast. Cells of another definition of a metric are left out already."""

    contrast: Contrast
    #: The baseline's and the candidate's.
    commits: tuple[str, str]
    #: By epoch, the candidate's part of the two arms' weights. Pairs have none, and need none: the
    #: same contents may be a shadow's first, and be split later.
    shares: Mapping[str, float]
    #: Mature cells, as rows have them; a key's additive rows are added up.
    written: Mapping[CellKey, Cell]
    #: What no row has yet. For guardrails, and to count what is pending.
    live: Mapping[CellKey, Cell] = field(default_factory=dict)
    #: Are both contents the ones that are served now?
    current: bool = True
    shadow: bool = False

    def __post_init__(self) -> None:
        arms = (self.contrast.baseline, self.contrast.candidate)
        for key in (*self.written, *self.live):
            is_split = not key.metric.startswith(PAIRED)
            if key.arm not in arms or (is_split and not 0 < self.shares.get(key.epoch, 0) < 1):
                given = f"{key}, shares {dict(self.shares)}"
                raise ValueError(
                    f"cells must be of {arms[0]} or {arms[1]}, in an epoch with a share between 0 "
                    f"and 1. Given: {given}"
                )
