"""False alarms and power by simulation: the gateway's own code beside the rules of libraries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from gateway.statistics.drift import Rules, of_reference
from gateway.statistics.measures import p_tolerance
from gateway.statistics.verdict import ColumnDrift
from loadtests.drift.populations import POPULATIONS, Floats, bins_of, latent, window_of
from loadtests.drift.rules import RULES

#: Rows of the reference, and of a small one.
LARGE, SMALL = 20_000, 426
#: Each column's share of one false alarm in a hundred windows of 30 columns.
ALPHA = 0.01 / 30
TOLERANCES = (0.0, 0.02, 0.05, 0.1)
#: Windows for one reference: making references takes most of the time.
_WINDOWS = 10

OURS, OURS_WARN = "ours", "ours, warn"
SHIFTS: Mapping[str, tuple[float, float]] = {
    "none": (0.0, 1.0),
    "mean +0.1 sd": (0.1, 1.0),
    "mean +0.2 sd": (0.2, 1.0),
    "mean +0.3 sd": (0.3, 1.0),
    "mean +0.5 sd": (0.5, 1.0),
    "mean +1 sd": (1.0, 1.0),
    "sd x1.3": (0.0, 1.3),
    "sd x1.5": (0.0, 1.5),
}


@dataclass(frozen=True)
class Shares:
    """In how many of so many windows of one kind each rule fired."""

    what: str
    rows: int
    runs: int
    fired: dict[str, int]

    def of(self, rule: str) -> float:
        return self.fired[rule] / self.runs


def _drift(verdicts: list[ColumnDrift]) -> ColumnDrift:
    (drift,) = verdicts
    return drift


def _fires(drift: ColumnDrift) -> bool:
    return drift.severity in ("alert", "critical")


def false_alarms(runs: int, seed: int, sizes: tuple[int, ...]) -> Iterator[Shares]:
    """Windows without drift, of numbers, by every rule."""
    rules = Rules(alpha=ALPHA)
    for population in ("normal", "lognormal"):
        make = POPULATIONS[population]
        for rows in sizes:
            rng = np.random.default_rng([seed, rows, len(population)])
            fired = dict.fromkeys([*RULES, OURS, OURS_WARN], 0)
            for run in range(runs):
                if run % _WINDOWS == 0:
                    reference = make(latent(rng, LARGE))
                    bins = bins_of(reference)
                values = make(latent(rng, rows))
                drift = _drift(of_reference(window_of(bins, values), rules))
                for name, rule in RULES.items():
                    fired[name] += rule(reference, values)
                fired[OURS] += _fires(drift)
                fired[OURS_WARN] += drift.severity == "warn"
            yield Shares(population, rows, runs, fired)


def repeated_users(runs: int, seed: int) -> Iterator[Shares]:
    """Windows without drift in which users come again, normal, beside a large reference."""
    for each, rows in ((10, 1_000), (100, 2_000), (100, 5_000)):
        rng = np.random.default_rng([seed, each, rows])
        fired = dict.fromkeys(["chi² p < .01", "Evidently W1 ≥ .1", "ours, rows as units", OURS], 0)
        for run in range(runs):
            if run % _WINDOWS == 0:
                reference = latent(rng, LARGE)
                bins = bins_of(reference)
            values = latent(rng, rows, each)
            bare = _drift(of_reference(window_of(bins, values), Rules(alpha=ALPHA)))
            units = window_of(bins, values, each)
            n_eff = LARGE * rows / (LARGE + rows)
            p = p_tolerance(bare.chi2 or 0.0, bare.df or 0, n_eff, 0.0)
            fired["chi² p < .01"] += p < 0.01
            fired["Evidently W1 ≥ .1"] += RULES["Evidently W1 ≥ .1"](reference, values)
            fired["ours, rows as units"] += _fires(bare)
            fired[OURS] += _fires(_drift(of_reference(units, Rules(alpha=ALPHA))))
        yield Shares(f"{each} requests a user", rows, runs, fired)


def every_kind(runs: int, seed: int, sizes: tuple[int, ...]) -> Iterator[Shares]:
    """Windows without drift, of every kind of column, by our rule alone."""
    rules = Rules(alpha=ALPHA)
    for m in (LARGE, SMALL):
        for population, make in POPULATIONS.items():
            for rows in sizes:
                few = max(10, runs // 5) if rows > 10_000 else runs
                rng = np.random.default_rng([seed, m, rows, len(population)])
                fired = dict.fromkeys(
                    (f"{word}{of}" for of in ("", ", users") for word in (OURS, OURS_WARN)), 0
                )
                for run in range(few):
                    if run % _WINDOWS == 0 or m == SMALL:
                        bins = bins_of(make(latent(rng, m)))
                    for each, of in ((1, ""), (10, ", users")):
                        window = window_of(bins, make(latent(rng, rows, each)), each)
                        drift = _drift(of_reference(window, rules))
                        fired[OURS + of] += _fires(drift)
                        fired[OURS_WARN + of] += drift.severity == "warn"
                yield Shares(f"{population}, reference of {m:,}", rows, few, fired)


def power(runs: int, seed: int, sizes: tuple[int, ...]) -> Iterator[Shares]:
    """Windows of shifted normal numbers: how often p is below alpha, by tolerance."""
    for shift, (mean, sd) in SHIFTS.items():
        for rows in sizes:
            rng = np.random.default_rng([seed, rows, len(shift), round(10 * mean)])
            fired = dict.fromkeys(map(str, TOLERANCES), 0)
            for run in range(runs):
                if run % (2 * _WINDOWS) == 0:
                    bins = bins_of(latent(rng, LARGE))
                values: Floats = mean + sd * latent(rng, rows)
                drift = _drift(of_reference(window_of(bins, values), Rules()))
                n_eff = LARGE * rows / (LARGE + rows)
                for tolerance in TOLERANCES:
                    p = p_tolerance(drift.chi2 or 0.0, drift.df or 0, n_eff, tolerance)
                    fired[str(tolerance)] += p < ALPHA
            yield Shares(shift, rows, runs, fired)
