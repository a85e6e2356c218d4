"""Medians and ratios of a race, checked with plain numbers."""

from __future__ import annotations

import pytest
from races import results, run

from loadtests.bench.arithmetic import (
    best_setting,
    cpu_per_thousand,
    extra_ratio,
    median_of,
    ratio,
    spread,
)
from loadtests.bench.records import Extra, Trial


def test_a_ratio_is_the_median_of_the_ratios_within_rounds() -> None:
    """On a machine that slows down, the ratio of the medians would be another one."""
    race = results()
    race.runs = [run("gateway", rate, turn) for turn, rate in enumerate((1000, 100, 900))]
    race.runs += [run("fastapi", rate, turn) for turn, rate in enumerate((500, 10, 300))]
    assert ratio(race, "lr", "gateway", "fastapi", 32) == 3  # of 2, 10 and 3; medians: 900 / 300
    race.runs[1] = run("gateway", 15, 1)
    assert ratio(race, "lr", "gateway", "fastapi", 32) == 2  # of 2, 1.5 and 3


def test_only_rounds_that_both_ran_count_in_a_ratio() -> None:
    race = results()
    race.runs = [run("gateway", 1000, 0), run("gateway", 4000, 1), run("fastapi", 1000, 1)]
    assert ratio(race, "lr", "gateway", "fastapi", 32) == 4
    assert ratio(race, "lr", "gateway", "mlserver", 32) is None
    assert ratio(race, "lr", "gateway", "fastapi", 1) is None


def test_a_peer_that_answered_nothing_makes_no_ratio() -> None:
    race = results()
    race.runs = [run("gateway", 1000), run("fastapi", 0)]
    assert ratio(race, "lr", "gateway", "fastapi", 32) is None


def test_medians_keep_models_and_connections_apart() -> None:
    race = results()
    race.runs = [
        *(run("gateway", rate, turn) for turn, rate in enumerate((10, 30, 20))),
        run("gateway", 999, model="forest"),
        run("gateway", 999, connections=1),
    ]
    assert median_of(race, "lr", "gateway", 32, lambda each: each.rate) == 20
    assert median_of(race, "hgb", "gateway", 32, lambda each: each.rate) is None


def test_cpu_is_for_a_thousand_requests_by_kind_of_process() -> None:
    runs = [
        run("gateway", 500, turn, cpu={"front": 2.0 * (turn + 1), "worker": 1.0}) for turn in (0, 1)
    ]
    # 2,000 requests each: 1 s and 2 s of the front for 1,000.
    assert cpu_per_thousand(runs) == {"front": 1.5, "worker": 0.5}


def test_the_fastest_setting_is_chosen_for_each_load() -> None:
    trials = [
        Trial("lr", "mlserver", "plain", 1, 900, 0.1),
        Trial("lr", "mlserver", "batching", 1, 300, 0.1),
        Trial("lr", "mlserver", "plain", 32, 1000, 0.1),
        Trial("lr", "mlserver", "batching", 32, 1500, 0.1),
    ]
    assert (best_setting(trials, 1), best_setting(trials, 32)) == ("plain", "batching")
    assert best_setting(trials, 8) is None


def test_the_spread_of_rounds_is_a_share_of_their_median() -> None:
    assert spread([90, 100, 120]) == pytest.approx(0.3)
    assert spread([]) is None


def test_special_loads_are_compared_within_their_rounds() -> None:
    extras = [
        Extra("small", "gateway", 0, 1, 1, 1.0),
        Extra("beside", "gateway", 0, 1, 1, 3.0),
        Extra("small", "gateway", 1, 1, 1, 10.0),
        Extra("beside", "gateway", 1, 1, 1, 20.0),
        Extra("beside", "gateway", 2, 1, 1, 99.0),
        Extra("beside", "accelerated", 0, 1, 1, 77.0),
    ]
    assert extra_ratio(extras, "gateway", "beside", "small", lambda each: each.p99) == 2.5
