"""The check that units fall on the arms as their weights say: a candidate that is to get 10 %."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.stats import chi2

from gateway.statistics.rates import log_dirichlet
from gateway.statistics.sample_ratio import LEAST_E, STRENGTH
from loadtests.experiments import expected
from loadtests.experiments.expected import RIGHT, UNITS, C
from loadtests.experiments.judges import firsts
from loadtests.experiments.records import Cell, at_least, at_most, median, median_of, share
from loadtests.experiments.streams import Floats

LOOKS, STEP, SHARES = 200, 500, (0.9, 0.1)


def split(runs: int, seed: int) -> Iterator[Cell]:
    """As it should be, and broken."""
    right = _units(np.random.default_rng([seed, 11]), 0.1, runs)
    wanted = right.sum(axis=2, keepdims=True) * SHARES
    p = chi2.sf(((right - wanted) ** 2 / wanted).sum(axis=2), 1)
    for alpha, said in ((0.05, ".05"), (0.01, ".01"), (0.001, ".001"), (0.0005, ".0005")):
        alarms = (p < alpha).any(axis=1)
        yield share(RIGHT, f"chi² p < {said}", alarms, at_most(alpha), ours=False)
    for strength in (100.0, STRENGTH, 10_000.0):
        method = C if strength == STRENGTH else f"{C} of strength {strength:,.0f}"
        log_e = log_dirichlet(right, SHARES, strength)
        alarms = (log_e >= math.log(LEAST_E)).any(axis=1)
        yield share(RIGHT, method, alarms, at_most(1 / LEAST_E))
    for number, (said, part) in enumerate((("10.5", 0.105), ("11", 0.11), ("12", 0.12))):
        setting = f"{said} % in place of 10 %"
        step = STEP if part < 0.12 else STEP // 5
        units = _units(np.random.default_rng([seed, 12, number]), part, runs, step)
        first = firsts(log_dirichlet(units, SHARES, STRENGTH) >= math.log(LEAST_E))
        figures = expected.SPLIT
        least = at_least(min(0.99, figures.get((setting, f"{C}, found"), 0.99)))
        yield share(setting, f"{C}, found", first >= 0, least)
        at = np.where(first >= 0, (first + 1.0) * step, np.inf)
        method = f"{C}, {UNITS}"
        yield median(setting, method, at, median_of(figures[setting, method]))


def _units(rng: np.random.Generator, part: float, runs: int, step: int = STEP) -> Floats:
    """Units by arm so far: (runs, looks, 2)."""
    n_b = rng.binomial(step, part, (runs, LOOKS)).cumsum(axis=1)
    total = step * np.arange(1, LOOKS + 1)
    return np.stack([total - n_b, n_b], axis=2).astype(np.float64)
