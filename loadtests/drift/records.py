"""What the loads on drift bring home, kept as JSON, so that each can be run by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from loadtests.bench.records import Machine
from loadtests.drift.comparison import Comparison
from loadtests.drift.simulation import Shares
from loadtests.drift.throughput import Line


@dataclass
class Part:
    """When and where a part was measured."""

    begun: str
    machine: Machine
    versions: dict[str, str]
    seconds: float = 0.0


@dataclass
class Tables:
    """The simulations."""

    part: Part
    seed: int
    false_alarms: list[Shares]
    users: list[Shares]
    kinds: list[Shares]
    power: list[Shares]


@dataclass
class Throughput:
    """The bench."""

    part: Part
    lines: list[Line]


@dataclass
class Compared:
    """The verdicts of all judges."""

    part: Part
    comparisons: list[Comparison]


@dataclass
class Figures:
    """All parts that were ever measured here."""

    tables: Tables | None = None
    bench: Throughput | None = None
    compare: Compared | None = None
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Figures:
        """Nothing, where there is nothing yet or what is there is of another form."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError):
            return cls()

    def write(self, path: Path) -> None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)))
