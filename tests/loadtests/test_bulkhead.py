"""The measure of one branch's trouble for another: right sums, and all of it run once in small."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from leftovers import ROOT, left_behind

from gateway.assignment import Split
from loadtests.bench.wrk import Load
from loadtests.bulkhead import OURS, THEIRS, Round, users_of, verdict

WELL = Load(rate=500.0, p50=0.001, p99=0.002, slowest=0.01, requests=5000, errors=0)
FLOOD = replace(WELL, rate=180.0, requests=4400, errors=2420)


def turn(flooded: float, hanging: float = 0.002, alone: float = 0.002) -> Round:
    return Round(
        alone=replace(WELL, p99=alone),
        flooded=replace(WELL, p99=flooded),
        hanging=replace(WELL, p99=hanging),
        capacity=replace(WELL, rate=200.0),
        flood=FLOOD,
    )


def test_a_multiple_is_the_median_of_those_within_the_rounds() -> None:
    """A machine that is slow in one round is slow for both."""
    rounds = [turn(0.0024), turn(0.024, alone=0.02, hanging=0.02), turn(0.004)]
    lines, wrong = verdict(rounds, 11.0, 1.5)
    assert [line.split(" x ")[1].split()[0] for line in lines[:3]] == ["1.00", "1.20", "1.00"]
    assert wrong == []
    assert "can answer 200/s; asked 400/s it answered 180/s in time, 90% of" in lines[3]


def test_what_passes_the_bound_or_fails_is_said() -> None:
    failing = replace(turn(0.004, 0.0021), hanging=replace(WELL, errors=3))
    _, wrong = verdict([failing], 11.0, 1.5)
    assert wrong == [
        "p99 of ours was 2.00 times that alone (flooded)",
        "3 requests of ours failed (hanging)",
    ]


@pytest.mark.parametrize("branch", [OURS, THEIRS])
def test_each_branch_is_asked_by_users_of_its_own(branch: str) -> None:
    users = users_of(OURS if branch == OURS else THEIRS, 50)
    split = Split("gateway", {OURS: 1.0, THEIRS: 1.0})
    assert {split.assign(user) for user in users} == {branch}
    assert len(set(users)) == 50


@pytest.mark.needs("wrk")
@pytest.mark.timeout(900)
def test_all_of_it_runs_in_small_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadtests.bulkhead", "--rounds=1", "--seconds=1"),
            *("--bound=1000", f"--root={tmp_path / 'bulkhead'}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("answers/s") == 3
    assert "theirs can answer" in done.stdout
    assert left_behind(tmp_path) == []
