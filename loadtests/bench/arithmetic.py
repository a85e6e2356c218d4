"""Medians and ratios over the rounds of a race: pure functions of its records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from loadtests.bench.records import Extra, Results, Run, Trial

#: The load at which settings for more than one connection are chosen, and CPU is shown.
BUSY = 32


def middle(values: Iterable[float]) -> float | None:
    """The median, or None of nothing."""
    found = list(values)
    return median(found) if found else None


def runs_of(results: Results, model: str, server: str, connections: int) -> dict[int, Run]:
    """By round."""
    return {
        run.round: run
        for run in results.runs
        if (run.model, run.server, run.connections) == (model, server, connections)
    }


def median_of(
    results: Results, model: str, server: str, connections: int, figure: Callable[[Run], float]
) -> float | None:
    runs = runs_of(results, model, server, connections).values()
    return middle(figure(run) for run in runs)


def ratio(
    results: Results,
    model: str,
    above: str,
    below: str,
    connections: int,
    figure: Callable[[Run], float] = lambda run: run.rate,
) -> float | None:
    """The median of the ratios within each round that has both: drift of the machine falls out."""
    one = runs_of(results, model, above, connections)
    other = runs_of(results, model, below, connections)
    return middle(
        figure(one[turn]) / figure(other[turn])
        for turn in sorted(one.keys() & other.keys())
        if figure(other[turn]) > 0
    )


def spread(values: Sequence[float]) -> float | None:
    """How far apart the rounds lie, as a share of their median."""
    found = middle(values)
    return (max(values) - min(values)) / found if found else None


def cpu_per_thousand(runs: Iterable[Run]) -> dict[str, float]:
    """Median seconds of CPU for 1,000 requests, by kind of process."""
    shares: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for process, seconds in run.cpu.items():
            if run.requests:
                shares[process].append(seconds / run.requests * 1000)
    return {process: median(values) for process, values in sorted(shares.items())}


def best_setting(trials: Sequence[Trial], connections: int) -> str | None:
    """The setting with the highest rate at this load; of none, None."""
    tried = [trial for trial in trials if trial.connections == connections and trial.rate > 0]
    return max(tried, key=lambda trial: trial.rate).setting if tried else None


def extra_ratio(
    extras: Sequence[Extra],
    server: str,
    above: str,
    below: str,
    figure: Callable[[Extra], float],
) -> float | None:
    """The median of ratios within each round between two special loads of one server."""
    by = {(extra.what, extra.round): figure(extra) for extra in extras if extra.server == server}
    rounds = {extra.round for extra in extras}
    return middle(
        by[above, turn] / by[below, turn]
        for turn in sorted(rounds)
        if by.get((below, turn), 0) > 0 and (above, turn) in by
    )
