"""Records of races that never were, with plain numbers."""

from __future__ import annotations

from loadtests.bench.records import Machine, Options, Results, Run

MACHINE = Machine("a processor", 2, 24_000_000_000, "Linux 6", "3.11.7", "wrk 4.1", 0.5)


def options(
    servers: tuple[str, ...] = ("echo", "gateway", "fastapi"),
    models: tuple[str, ...] = ("lr",),
    rounds: int = 3,
) -> Options:
    return Options(models, servers, (1, 32), rounds, 4, 2, quick=False)


def results(**settings: object) -> Results:
    return Results("2026-11-25T10:00:00+00:00", MACHINE, options(**settings))  # type: ignore[arg-type]


def run(
    server: str,
    rate: float,
    turn: int = 0,
    *,
    model: str = "lr",
    connections: int = 32,
    p50: float = 0.002,
    p99: float = 0.01,
    cpu: dict[str, float] | None = None,
) -> Run:
    figures = (rate, p50, p99, int(rate * 4), 0, 4.0, cpu or {})
    return Run(model, server, "default", connections, turn, *figures)
