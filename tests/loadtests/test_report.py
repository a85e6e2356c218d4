"""RESULTS.md says all that a race brought home, also what it did not."""

from __future__ import annotations

from pathlib import Path

from races import results, run

from loadtests.bench.lineup import PEERS, SERVERS
from loadtests.bench.records import Alone, Extra, Idle, ProcessMemory, Results, Trial
from loadtests.bench.report import page
from loadtests.bench.targets import RATES, verdicts


def race() -> Results:
    found = results(servers=tuple(server.name for server in SERVERS))
    found.missing = {"ray": "pip install: ERROR: no | such version"}
    found.versions = {"fastapi": {"fastapi": "0.165.0"}}
    for turn in range(3):
        found.runs += [
            run("echo", 20_000, turn),
            run("gateway", 9_000, turn, p99=0.006, cpu={"front": 12.0}),
            run("fastapi", 1_000, turn, p99=0.09),
            run("gateway", 900, turn, connections=1, p50=0.0012),
            run("starlette", 1_000, turn, connections=1, p50=0.001),
        ]
        found.alone.append(Alone("lr", turn, 10_000, 5_000, 90_000_000))
    found.memory = [
        ProcessMemory("lr", "gateway", "default", "front", 70_000_000, 60_000_000),
        ProcessMemory("lr", "gateway", "default", "worker", 140_000_000, 130_000_000),
    ]
    found.idle = [Idle("lr", "gateway", "default", 0.012)]
    return found


def lines(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_a_missing_peer_is_said_with_its_reason_and_breaks_no_table() -> None:
    text = page(race())
    assert lines(text, "Ray Serve", "no \\| such version") == [
        "| Ray Serve | pip install: ERROR: no \\| such version |"
    ]
    assert lines(text, "requests/s against Ray Serve", "not measured")


def test_a_server_that_was_not_asked_for_is_said_too() -> None:
    text = page(results(servers=("gateway",)))
    assert lines(text, "LitServe", "not asked for")


def test_rates_latencies_and_multiples_stand_in_their_tables() -> None:
    text = page(race())
    assert "| gateway | 900 | 9,000 |" in text
    assert "| FastAPI | - | 1,000 |" in text
    assert "| gateway | 1.20 / 10.00 | 2.00 / 6.00 |" in text
    assert "| FastAPI | - | 9.00 |" in text  # the gateway's rate as a multiple of it
    assert "| gateway | front | 0.333 | 70 | 60 | 0.012 |" in text


def test_each_target_stands_beside_what_was_reached_and_a_miss_is_called_one() -> None:
    text = page(race())
    assert lines(text, "against the bare echo", "at least 0.4 times", "0.45 times", "| reached |")
    assert lines(text, "requests/s against FastAPI", "at least 6 times", "9 times", "| reached |")
    assert lines(text, "p99 against FastAPI", "6.0 ms against 90.0 ms", "| reached |")
    assert lines(text, "memory of the front", "70.0 MB", "| reached |")
    assert lines(text, "a worker's peak memory", "50.0 MB", "| **missed** |")  # 140 above 90
    assert lines(text, "the gateway against the model inline", "1.2 times", "| reached |")


def test_every_target_is_judged_even_where_nothing_was_measured() -> None:
    judged = verdicts(results())
    assert {each.met for each in judged} == {None}
    for model, wanted in RATES.items():
        for ours in ("gateway", "gateway, accelerated"):
            of_it = f"{model}, 32 connections, {ours}: requests/s"
            said = [each.what for each in judged if each.what.startswith(of_it)]
            assert len(said) == len(wanted) + (model == "lr")
    alone = "forest, 1 connection, accelerated: requests/s"
    assert len([each for each in judged if each.what.startswith(alone)]) == len(PEERS)


def test_a_figure_on_the_wrong_side_of_its_target_is_missed() -> None:
    found = race()
    found.extras = [
        Extra("1 row, 1 connection", "gateway", 0, 900, 0.001, 0.01),
        Extra("64 rows, 1 connection", "gateway", 0, 300, 0.0031, 0.01),
    ]
    text = page(found)
    assert lines(text, "64 rows against one of 1 row", "at most 3", "3.1 times", "**missed**")
    assert lines(text, "gateway: 64 rows, 1 connection", "300", "3.10", "10.00")


def test_problems_and_trials_are_shown() -> None:
    found = race()
    found.problems = ["lr: mlserver answered wrongly:\n status 500"]
    found.trials = [Trial("lr", "mlserver", "parallel_workers=0", 1, 800, 0.1)]
    text = page(found)
    assert "- lr: mlserver answered wrongly: status 500" in text
    assert lines(text, "| MLServer | `parallel_workers=0` | 800 | - |")


def test_figures_can_be_kept_and_reported_again(tmp_path: Path) -> None:
    found = race()
    found.write(tmp_path / "figures.json")
    assert page(Results.read(tmp_path / "figures.json")) == page(found)
