"""What counting rows costs: rows a second through `Window.add`, and what closing a window does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.statistics.drift import Rules, of_reference
from gateway.statistics.profiler import reference_columns
from gateway.statistics.reference import Profile
from gateway.statistics.window import Bins, Window

COLUMNS = (4, 30, 300)
BATCHES = (1, 32, 1_024)
_REFERENCE = 5_000
#: Seconds of CPU for each line, at least.
_ENOUGH = 1.0


@dataclass(frozen=True)
class Line:
    """One measurement. `what` names what was done with the rows; batch 0: no rows were."""

    what: str
    columns: int
    batch: int
    rows_per_second: float
    cpu_us: float


def values(columns: int, rows: int, seed: int) -> dict[str, list[Any]]:
    """Of ten columns eight are numbers, one has few values, and one is of 50 categories."""
    rng = np.random.default_rng(seed)
    kinds: tuple[Callable[[], Any], ...] = (
        *[lambda: rng.normal(size=rows)] * 2,
        lambda: rng.poisson(2, rows),
        lambda: np.array([f"c{k}" for k in range(50)])[rng.integers(50, size=rows)],
        *[lambda: rng.lognormal(size=rows)] * 6,
    )
    return {f"c{k}": kinds[k % 10]().tolist() for k in range(columns)}


def measured(say: Callable[[str], None]) -> Iterator[Line]:
    """Every line of the bench."""
    for columns in COLUMNS:
        reference = values(columns, _REFERENCE, 1)
        bins = Bins(Profile(_REFERENCE, reference_columns(reference)).identified())
        for batch in BATCHES:
            line = _added(bins, columns, batch)
            rate = f"{line.rows_per_second:,.0f} rows a second"
            say(f"{columns} columns, batches of {batch:,}: {rate}")
            yield line
        yield from _closed(bins, columns)


def _added(bins: Bins, columns: int, batch: int) -> Line:
    """Batches in turn, each row of another unit; reading rows from the journal comes beside it."""
    batches = [values(columns, batch, seed) for seed in range(20)]
    rng = np.random.default_rng(2)
    units = [rng.integers(2**64, size=batch, dtype=np.uint64).tolist() for _ in range(2_000)]
    window = Window(bins)
    wall, cpu, rows = time.perf_counter(), time.process_time(), 0
    while time.process_time() - cpu < _ENOUGH:
        for _ in range(max(1, 256 // batch)):
            turn = rows // batch
            window.add(batch, batches[turn % 20], units[turn % 2_000], "bench")
            rows += batch
    took, used = time.perf_counter() - wall, time.process_time() - cpu
    return Line("Window.add", columns, batch, rows / took, used / rows * 1e6)


def _closed(bins: Bins, columns: int) -> Iterator[Line]:
    window = Window(bins)
    window.add(5_000, values(columns, 5_000, 3), range(5_000), "bench")
    encoded = window.encode()
    once: dict[str, Callable[[], object]] = {
        "verdicts of a window": lambda: of_reference(window, Rules()),
        f"Window.encode, {len(encoded):,} bytes": window.encode,
        "Window.decode and merge": lambda: Window(bins).merge(Window.decode(bins, encoded)),
    }
    for what, deed in once.items():
        cpu, times = time.process_time(), 0
        while time.process_time() - cpu < _ENOUGH / 4:
            deed()
            times += 1
        yield Line(what, columns, 0, 0.0, (time.process_time() - cpu) / times * 1e6)
