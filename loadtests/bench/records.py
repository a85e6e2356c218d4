"""What a race brings home, in a form that can be kept as JSON and reported again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec


@dataclass(frozen=True)
class Options:
    """How the race was run."""

    models: tuple[str, ...]
    servers: tuple[str, ...]
    connections: tuple[int, ...]
    rounds: int
    seconds: float
    tried_seconds: float
    quick: bool


@dataclass(frozen=True)
class Machine:
    """Where it was run."""

    processor: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    wrk: str
    load_before: float


@dataclass(frozen=True)
class Run:
    """One server under one load, once. Times in seconds; `cpu` is seconds by kind of process."""

    model: str
    server: str
    setting: str
    connections: int
    round: int
    rate: float
    p50: float
    p99: float
    requests: int
    errors: int
    seconds: float
    cpu: dict[str, float]


@dataclass(frozen=True)
class Trial:
    """A setting of a server that was tried before the race."""

    model: str
    server: str
    setting: str
    connections: int
    rate: float
    p99: float


@dataclass(frozen=True)
class ProcessMemory:
    """Memory of one process of a server after its loads: peak of RSS, and PSS, in bytes."""

    model: str
    server: str
    setting: str
    process: str
    peak: int
    share: int | None


@dataclass(frozen=True)
class Idle:
    """Cores that a server used while nobody asked it."""

    model: str
    server: str
    setting: str
    cores: float


@dataclass(frozen=True)
class Alone:
    """The model in a loop, once: calls a second, and the peak RSS of its interpreter in bytes."""

    model: str
    round: int
    one: float
    many: float
    peak: int


@dataclass(frozen=True)
class Extra:
    """The gateway under a special load, once: `what` names the load, times in seconds."""

    what: str
    server: str
    round: int
    rate: float
    p50: float
    p99: float


@dataclass
class Results:
    """All of it. `missing` and `problems` say why, by server and in order."""

    started: str
    machine: Machine
    options: Options
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    memory: list[ProcessMemory] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)
    alone: list[Alone] = field(default_factory=list)
    extras: list[Extra] = field(default_factory=list)
    ended: str = ""

    def write(self, file: Path) -> None:
        beside = file.with_name(file.name + ".new")
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))
        beside.rename(file)

    @classmethod
    def read(cls, file: Path) -> Results:
        """msgspec.MsgspecError where the file is another one."""
        return msgspec.json.decode(file.read_bytes(), type=cls)
