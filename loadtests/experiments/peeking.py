"""Looking again and again: where nothing is there, at what is there, and until it is found."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gateway.statistics.guardrail import log_harm
from gateway.statistics.planning import size_of_rates
from gateway.statistics.sequences import PLANNED_UNITS
from loadtests.experiments import expected
from loadtests.experiments.expected import A_BARE, CLOSED, ONCE, PEEKING, A, B
from loadtests.experiments.judges import (
    by_closed_form,
    by_evidence,
    by_sequence,
    by_z,
    firsts,
)
from loadtests.experiments.records import Cell, at_most, median, median_of, share
from loadtests.experiments.streams import Arm, Floats, Stream, events, values

LOOKS, STEP = 200, 100
PROMISE = at_most(0.05)
#: Setting: the candidate's share, and the rate of both arms.
NO_EFFECT = {
    "10 %, half and half": (0.5, 0.1),
    "10 %, canary of 5 %": (0.05, 0.1),
    "0.5 %, half and half": (0.5, 0.005),
    "0.5 %, canary of 5 %": (0.05, 0.005),
}
#: Those in which the least events were tried, with the default of planned units.
LEAST_EVENTS = {
    "2 %, canary of 2 %": (0.02, 0.02),
    "10 %, canary of 10 %": (0.1, 0.1),
    "50 %, half and half": (0.5, 0.5),
}
EFFECTS = {
    "10 % and 12 %, half and half": (0.5, 0.1, 0.12),
    "10 % and 12 %, canary of 5 %": (0.05, 0.1, 0.12),
    "0.5 % and 1.5 %, canary of 5 %": (0.05, 0.005, 0.015),
}
#: Setting: the candidate's share, both rates, and units between two looks.
FOUND = {
    "10 % and 12 %": (0.5, 0.1, 0.12, 200),
    "10 % and 11 %": (0.5, 0.1, 0.11, 800),
    "0.5 % and 1.5 %, canary of 5 %": (0.05, 0.005, 0.015, 400),
}


def looked_at(runs: int, seed: int) -> Iterator[Cell]:
    """Two arms that are the same."""
    for number, (setting, (part, rate)) in enumerate(NO_EFFECT.items()):
        rng = np.random.default_rng([seed, 1, number])
        stream = events(rng, runs, [LOOKS], STEP, [part], [(rate, rate)])
        yield from _usual(setting, stream)
        bare = by_sequence(stream, "mean")
        yield share(setting, A_BARE, bare >= 0, PROMISE, ours=False)
        yield share(setting, A, by_sequence(stream) >= 0, PROMISE)
        yield share(setting, CLOSED, by_closed_form(stream) >= 0, PROMISE)
        yield share(setting, B, by_evidence(stream) >= 0, PROMISE)
    for setting, made in (("lognormal, sigma 1", _lognormal), ("zero-inflated revenue", _revenue)):
        stream = values(np.random.default_rng([seed, 2, len(setting)]), runs, LOOKS, STEP, made)
        yield from _usual(setting, stream)
        yield share(setting, A, by_sequence(stream, "mean") >= 0, PROMISE)


def with_the_least_events(runs: int, seed: int) -> Iterator[Cell]:
    """What they are for, and several metrics at once."""
    for number, (setting, (part, rate)) in enumerate(LEAST_EVENTS.items()):
        rng = np.random.default_rng([seed, 3, number])
        stream = events(rng, runs, [LOOKS], STEP, [part], [(rate, rate)])
        bare = by_sequence(stream, "mean", planned_units=PLANNED_UNITS)
        yield share(setting, A_BARE, bare >= 0, PROMISE, ours=False)
        ours = by_sequence(stream, planned_units=PLANNED_UNITS)
        yield share(setting, A, ours >= 0, PROMISE)
    few = max(10, runs // 2)
    found = np.zeros(few, dtype=np.bool_)
    for stream in _three_arms(np.random.default_rng([seed, 4]), few):
        found |= by_sequence(stream, alpha=0.05 / 4) >= 0
    yield share("3 arms, 2 metrics, alpha .05 / 4", A, found, PROMISE)


def intervals(runs: int, seed: int) -> Iterator[Cell]:
    """Real effects: is the true one outside of the interval at any look?"""
    for number, (setting, (part, a, b)) in enumerate(EFFECTS.items()):
        rng = np.random.default_rng([seed, 5, number])
        stream = events(rng, runs, [LOOKS], STEP, [part], [(a, b)])
        yield share(setting, PEEKING, by_z(stream, truth=b - a) >= 0, PROMISE, ours=False)
        yield share(setting, A, by_sequence(stream, truth=b - a) >= 0, PROMISE)
        yield share(setting, B, by_evidence(stream, math.log(b / a)) >= 0, PROMISE)


def found(runs: int, seed: int) -> Iterator[Cell]:
    """Real effects: how many units of both arms until they are seen, in half of the runs?"""
    few = max(10, runs // 2)
    for number, (setting, (part, a, b, step)) in enumerate(FOUND.items()):
        rng = np.random.default_rng([seed, 6, number])
        stream = events(rng, few, [LOOKS], step, [part], [(a, b)])
        size = size_of_rates(a, b, np.random.default_rng([seed, 7, number]), share=part)
        yield Cell(setting, "z-test, 80 % at", size.fixed, 0, 1, ours=False)
        each = {
            "(A), planned 5,000": by_sequence(stream),
            "(A), planned 20,000": by_sequence(stream, planned_units=20_000),
            CLOSED: by_closed_form(stream),
            B: by_evidence(stream),
        }
        if part < 0.5:
            each[A_BARE] = by_sequence(stream, "mean")
            log_e = log_harm(stream.b.total, stream.both, stream.shares)
            each["(D), one-sided"] = firsts(log_e >= -math.log(0.05))
        for method, first in each.items():
            figure = expected.POWER.get((setting, method))
            promise = None if figure is None else median_of(figure)
            yield median(setting, method, stream.at(first), promise, ours=method != A_BARE)


def _usual(setting: str, stream: Stream) -> Iterator[Cell]:
    yield share(setting, ONCE, by_z(stream, once=True) >= 0, PROMISE, ours=False)
    yield share(setting, PEEKING, by_z(stream) >= 0, PROMISE, ours=False)


def _lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.lognormal(size=shape)


def _revenue(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Nine of ten pay nothing; what others pay is spread widely."""
    return np.where(rng.random(shape) < 0.1, rng.lognormal(3, 1.5, shape), 0.0)


def _three_arms(rng: np.random.Generator, runs: int, looks: int = 150) -> Iterator[Stream]:
    """Two candidates beside one baseline, two metrics: the four contrasts."""
    units = rng.multinomial(150, [1 / 3] * 3, (runs, looks))
    for _ in range(2):
        happened = rng.binomial(units, 0.1)
        n, x = (part.cumsum(axis=1)[..., None] for part in (units, happened))
        arms = [Arm.of_events(n[:, :, k], x[:, :, k]) for k in range(3)]
        for candidate in arms[1:]:
            yield Stream(arms[0], candidate, np.array([0.5]), 150)
