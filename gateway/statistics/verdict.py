"""What is said of a column: the verdict of a window, with its figures.

Plain data, without numpy: those who only read a verdict use it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.statistics.reference import LATENCY

Severity = Literal["ok", "warn", "alert", "critical", "insufficient"]
RANKS: Mapping[str, int] = {"insufficient": 0, "ok": 0, "warn": 1, "alert": 2, "critical": 3}


def is_judged(column: str, kind: str) -> bool:
    """May the column alarm at all? Only among those a false alarm is shared out.

    Latency is the machine's doing rather than the data's: it is told, and no alarm.
    """
    return kind != "skipped" and column != LATENCY


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column's verdict; None where a figure has no meaning. Rates are shares of the rows."""

    column: str
    kind: str
    n: int
    n_ref: int
    severity: Severity
    #: Which rules fired, with `;` between them; else why nothing is said.
    reason: str = ""
    missing_rate: float | None = None
    missing_rate_ref: float | None = None
    invalid_rate: float | None = None
    out_of_range_rate: float | None = None
    new_category_rate: float | None = None
    mean: float | None = None
    mean_ref: float | None = None
    mean_shift_sd: float | None = None
    psi: float | None = None
    psi_null: float | None = None
    js_distance: float | None = None
    ks: float | None = None
    #: Of independent rows: X² times units a row.
    chi2: float | None = None
    df: int | None = None
    p_tolerance: float | None = None
    tolerance: float | None = None

    @property
    def rank(self) -> int:
        return RANKS[self.severity]
