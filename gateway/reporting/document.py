"""The body of GET /branches/{branch}/drift as its readers see it; what they do not know is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec

from gateway.errors import GatewayError
from gateway.statistics.verdict import ColumnDrift, Severity

Shape = TypeVar("Shape")
State = Literal["waiting", "collecting", "counting", "measured"]
RANKS: dict[Severity | None, int] = {
    None: 0,
    "insufficient": 0,
    "ok": 1,
    "warn": 2,
    "alert": 3,
    "critical": 4,
}


class UnreadableAnswer(GatewayError):
    """Look at what answered: it is no gateway, or of another version."""


class Span(msgspec.Struct, frozen=True):
    """A window: of when, and of how many rows by how many users."""

    start: datetime
    end: datetime
    rows: int
    units: float | None = None
    writers: int = 1
    partial: bool = False


class Open(msgspec.Struct, frozen=True):
    """The window that is filling; `ends` is when it may close."""

    start: datetime
    ends: datetime
    rows: int


class Reference(msgspec.Struct, frozen=True):
    """What windows are compared with."""

    n: int
    id: str = ""
    live: bool = False
    source: dict[str, Any] = {}


class Collected(msgspec.Struct, frozen=True):
    """How far the first rows are on the way to a reference."""

    rows: int
    of: int


class Rules(msgspec.Struct, frozen=True):
    """What a verdict depends on."""

    alpha: float
    warn: float
    alert: float
    critical: float
    least_rows: int
    #: `alpha` shared out among the columns, once they are known.
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Column(ColumnDrift):
    """A verdict on one column, with both distributions by cell."""

    labels: tuple[str, ...] = ()
    reference: tuple[float, ...] = ()
    current: tuple[float, ...] = ()
    new: dict[str, int] = field(default_factory=dict)

    @property
    def skipped(self) -> bool:
        return self.kind == "skipped"

    @property
    def cells(self) -> list[tuple[str, float, float]]:
        """Label, share in the reference and share now."""
        return list(zip(self.labels, self.reference, self.current, strict=False))

    @property
    def badness(self) -> tuple[int, int, float]:
        """Sorts by how bad it is: the verdict, then how far PSI is beyond chance."""
        excess = (self.psi or 0.0) - (self.psi_null or 0.0)
        return (RANKS[self.severity], not self.skipped, excess)


class Between(msgspec.Struct, frozen=True):
    """The same window of another branch: users of both are random halves of one population."""

    other: str = msgspec.field(name="with")
    severity: Severity | None = None
    window: Span | None = None
    columns: tuple[Column, ...] = ()

    def of(self, cause: Literal["split", "model"]) -> list[Column]:
        """Columns that differ, and by whose doing; the worst first."""
        return [one for one in worst_first(self.columns) if one.reason.split(";")[0] == cause]


class Drift(msgspec.Struct, frozen=True):
    """The whole document."""

    branch: str
    state: State
    fingerprint: str | None = None
    commit: str | None = None
    severity: Severity | None = None
    drifted: bool | None = None
    trouble: str | None = None
    reference: Reference | None = None
    collected: Collected | None = None
    window: Span | None = None
    open: Open | None = None
    rules: Rules | None = None
    columns: tuple[Column, ...] = ()
    between: Between | None = None

    @property
    def rank(self) -> int:
        """The worse of the branch's own verdict and that on the split; models may well differ."""
        split = self.between.of("split") if self.between else []
        return max(RANKS[self.severity], *(RANKS[one.severity] for one in split), 0)


def worst_first(columns: Iterable[Column]) -> list[Column]:
    return sorted(columns, key=lambda one: one.badness, reverse=True)


def parse_drift(data: bytes, where: str) -> Drift:
    """The document in `data`, which came from `where`."""
    return parsed(data, where, Drift, "drift document")


def parsed(data: bytes, where: str, shape: type[Shape], name: str) -> Shape:
    """What a gateway answered at `where`, which must be a `name`."""
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        text = f"its JSON is no {name} of this version: {error}"
        raise UnreadableAnswer(text, where=where) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"must answer JSON. Given: {data[:80].decode(errors='replace')!r}"
        raise UnreadableAnswer(text, where=where) from error
