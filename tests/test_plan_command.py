"""`gateway plan` as a person runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main


def plan(arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["plan", *arguments.split()])
    return done.exit_code, done.output


RATE = "--baseline-rate .1 --lift .15 --daily-units 2000"


def test_it_says_units_and_days_three_ways() -> None:
    code, said = plan(RATE)
    assert code == 0
    assert said.startswith("A rate of 10 % against one of 11.5 % (+15 %), with 50 % of the units")
    rows = re.findall(r"^  (.+?) {2,}([\d,]+) units +(\d+) days$", said, re.MULTILINE)
    assert [row[0] for row in rows] == [
        "looking at any time, half are decided within",
        "looking at any time, nine in ten within",
        "looking only once, power 0.8",
    ]
    units = [int(row[1].replace(",", "")) for row in rows]
    assert units[2] == pytest.approx(13_400, rel=0.02)
    assert units[0] < units[1]
    assert [int(row[2]) for row in rows] == [-(-count // 2_000) for count in units]
    said = " ".join(said.split())
    assert "by the exact method for rates, in 1,000 simulated experiments" in said
    assert "no difference, at most 5 % of experiments claim one, however often one looks" in said
    assert said == " ".join(plan(RATE)[1].split())


def test_it_plans_means_too() -> None:
    code, said = plan("--mean 20 --sd 35 --lift -.05 --daily-units 10000000 --share .1 --alpha .01")
    assert code == 0
    assert said.startswith("A mean of 20 against one of 19 (-5 %), with 10 % of the units")
    assert "by the confidence sequence for means" in said
    assert "at most 1 % of experiments" in said
    assert re.search(r"units +1 day$", said, re.MULTILINE)


def test_what_is_plain_at_once_waits_for_the_least_units_of_either_branch() -> None:
    code, said = plan("--mean 1e300 --sd 1e-300 --lift .1 --daily-units 100 --share .2")
    assert code == 0
    assert re.search(r"half are decided within +500 units +5 days$", said, re.MULTILINE)


def test_the_page_shows_what_it_says() -> None:
    page = (Path(__file__).parent.parent / "deploy" / "experiments.md").read_text()
    section = page.split("## Before an experiment")[1].split("\n## ")[0]
    command = re.search(r"^    gateway plan (.+)$", section, re.MULTILINE)
    assert command is not None
    shown = re.search(r"```text\n(.*?)```", section, re.DOTALL)
    assert shown is not None
    assert shown[1] == plan(command[1])[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--lift .1 --daily-units 9", "Give either --baseline-rate, or --mean and --sd."),
        (f"{RATE} --mean 3", "Give either --baseline-rate, or --mean and --sd."),
        ("--mean 3 --lift .1 --daily-units 9", "Give either --baseline-rate, or --mean and --sd."),
        ("--baseline-rate .1 --daily-units 9", "Missing option '--lift'"),
        (
            "--baseline-rate 1.2 --lift .1 --daily-units 9",
            "'--baseline-rate': 1.2 is not in the range 0<x<1.",
        ),
        (
            "--baseline-rate nan --lift .1 --daily-units 9",
            "'--baseline-rate': 'nan' is not a finite number.",
        ),
        (
            "--baseline-rate .1 --lift inf --daily-units 9",
            "'--lift': 'inf' is not a finite number.",
        ),
        ("--baseline-rate .1 --lift ten --daily-units 9", "'--lift': 'ten' is not a valid number"),
        ("--baseline-rate .1 --lift 0 --daily-units 9", "--lift: must not be 0"),
        (
            "--baseline-rate .8 --lift .5 --daily-units 9",
            "a rate between 0 and 1. Given: 0.5, which makes 0.8 into 1.2.",
        ),
        ("--baseline-rate .8 --lift -1 --daily-units 9", "which makes 0.8 into 0."),
        ("--mean 0 --sd 1 --lift .1 --daily-units 9", "--mean: must not be 0"),
        ("--mean 1 --sd 0 --lift .1 --daily-units 9", "'--sd': 0.0 is not in the range x>0."),
        (
            "--baseline-rate .1 --lift 1e-9 --daily-units 9",
            "--lift: takes more than 1,000,000,000,000,000 units to be seen. Given: 1e-09.",
        ),
        (
            "--mean 1e-300 --sd 1e300 --lift .1 --daily-units 9",
            "--lift: takes more than 1,000,000,000,000,000 units",
        ),
        (f"{RATE} --daily-units 0", "'--daily-units': 0 is not in the range x>=1."),
        (f"{RATE} --share 1", "'--share': 1.0 is not in the range 0<x<1."),
        (f"{RATE} --alpha 0", "'--alpha': 0.0 is not in the range 0<x<0.5."),
        (f"{RATE} --power 1", "'--power': 1.0 is not in the range 0<x<1."),
    ],
)
def test_what_is_wrong_is_said_with_its_option(arguments: str, said: str) -> None:
    code, output = plan(arguments)
    assert code == 2
    assert said in " ".join(output.split())


def test_other_commands_do_not_wait_for_it() -> None:
    code = "import sys, gateway.cli; print([m for m in ('numpy', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
