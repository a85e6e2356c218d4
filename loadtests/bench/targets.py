"""What the gateway must reach against the others of the same run, and whether it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from statistics import median

from loadtests.bench.arithmetic import BUSY, extra_ratio, median_of, middle, ratio
from loadtests.bench.extras import (
    MANY_ROWS,
    ONE_ROW,
    SMALL_ALONE,
    SMALL_BESIDE,
    SMALL_UNDER,
)
from loadtests.bench.lineup import BY_NAME, PEERS
from loadtests.bench.records import Results

#: Requests a second as multiples of a peer's, at 32 connections.
RATES: dict[str, dict[str, float]] = {
    "lr": {"fastapi": 6, "mlserver": 6, "mlflow": 6, "bentoml": 8, "litserve": 10, "ray": 20},
    "forest": {"fastapi": 14, "mlserver": 2.3, "bentoml": 2.5},
    "hgb": {"fastapi": 7, "mlserver": 4, "bentoml": 6},
}
OF_ECHO = 0.40
#: With acceleration, which is the default, and without.
OURS = ("accelerated", "gateway")
FRONT_BYTES = 80_000_000
WORKER_BYTES = 40_000_000


@dataclass(frozen=True)
class Verdict:
    """A target beside what was reached; `met` is None where it was not measured."""

    what: str
    wanted: str
    reached: str
    met: bool | None


Figure = Callable[[Results], float | None]


def verdicts(results: Results) -> list[Verdict]:
    """Every target, in the order in which they were set."""
    return [
        *_rates(results),
        *_latencies(results),
        *_one_connection(results),
        *_special(results),
        *_acceleration(results),
        *_memory(results),
    ]


def at_least(what: str, wanted: float, found: float | None, unit: str = "times") -> Verdict:
    return _judged(what, f"at least {wanted:g} {unit}", found, unit, lambda value: value >= wanted)


def at_most(what: str, wanted: float, found: float | None, unit: str = "times") -> Verdict:
    return _judged(what, f"at most {wanted:g} {unit}", found, unit, lambda value: value <= wanted)


def _judged(
    what: str, wanted: str, found: float | None, unit: str, holds: Callable[[float], bool]
) -> Verdict:
    if found is None:
        return Verdict(what, wanted, "not measured", None)
    return Verdict(what, wanted, f"{found:.3g} {unit}", holds(found))


def _title(server: str) -> str:
    return BY_NAME[server].title


def _rates(results: Results) -> Iterator[Verdict]:
    for name, model in product(OURS, RATES):
        what = f"{model}, {BUSY} connections, {_title(name)}: requests/s against"
        if model == "lr":
            found = ratio(results, model, name, "echo", BUSY)
            yield at_least(f"{what} the bare echo", OF_ECHO, found)
        for peer, times in RATES[model].items():
            found = ratio(results, model, name, peer, BUSY)
            yield at_least(f"{what} {_title(peer)}", times, found)


def _latencies(results: Results) -> Iterator[Verdict]:
    for name, peer in product(OURS, PEERS):
        found = [
            median_of(results, "lr", server, BUSY, lambda run: run.p99) for server in (name, peer)
        ]
        what = f"lr, {BUSY} connections, {_title(name)}: p99 against {_title(peer)}"
        ours, theirs = found
        if ours is None or theirs is None:
            yield Verdict(what, "below it", "not measured", None)
        else:
            reached = f"{ours * 1e3:.1f} ms against {theirs * 1e3:.1f} ms"
            yield Verdict(what, "below it", reached, ours < theirs)


def _one_connection(results: Results) -> Iterator[Verdict]:
    for name, most in (("gateway", 1.5), ("accelerated", 1.0)):
        found = ratio(results, "lr", name, "starlette", 1, lambda run: run.p50)
        what = f"lr, 1 connection: p50 of the {_title(name)} against the model inline in Starlette"
        yield at_most(what, most, found)


def _special(results: Results) -> Iterator[Verdict]:
    model = results.options.models[0]  # the only one with special loads

    def of(above: str, below: str, figure: str) -> float | None:
        return extra_ratio(
            results.extras, "gateway", above, below, lambda extra: float(getattr(extra, figure))
        )

    yield at_most(
        f"{model}: p50 of a request of 64 rows against one of 1 row",
        3,
        of(MANY_ROWS, ONE_ROW, "p50"),
    )
    for what in (SMALL_BESIDE, SMALL_UNDER):
        yield at_most(f"{model}: p99 of {what}, against alone", 2, of(what, SMALL_ALONE, "p99"))


def _acceleration(results: Results) -> Iterator[Verdict]:
    for peer in PEERS:
        yield at_least(
            f"forest, 1 connection, accelerated: requests/s against {_title(peer)}",
            8,
            ratio(results, "forest", "accelerated", peer, 1),
        )


def _memory(results: Results) -> Iterator[Verdict]:
    yield _below("peak memory of the front", FRONT_BYTES, most_memory(results, "front"))
    for model in dict.fromkeys(part.model for part in results.memory):
        bare = middle(alone.peak for alone in results.alone if alone.model == model)
        worker = most_memory(results, "worker", model)
        more = None if worker is None or bare is None else worker - bare
        what = f"{model}: a worker's peak memory above an interpreter's that has loaded the model"
        yield _below(what, WORKER_BYTES, more)


def _below(what: str, wanted: int, found: float | None) -> Verdict:
    most = f"below {wanted / 1e6:.0f} MB"
    if found is None:
        return Verdict(what, most, "not measured", None)
    return Verdict(what, most, f"{found / 1e6:.1f} MB", found < wanted)


def most_memory(results: Results, process: str, model: str | None = None) -> float | None:
    """Peak RSS, the median over the gateway's processes of this kind; without a model, the most.

    Not PSS: that depends on who else runs.
    """
    by_model: dict[str, list[float]] = {}
    for part in results.memory:
        if part.server == "gateway" and part.process == process and model in (None, part.model):
            by_model.setdefault(part.model, []).append(part.peak)
    return max((median(values) for values in by_model.values()), default=None)
