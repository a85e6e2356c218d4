"""The promised error rates as a page: its cells, its marks, and a run of all of it in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.stats import binom

from gateway.statistics import effects
from gateway.statistics.effects import Effect, effect
from gateway.statistics.rates import RateRatio, rate_ratio
from gateway.statistics.sums import EventCounts
from loadtests.experiments import canaries, expected, judges, peeking, streams, thompson
from loadtests.experiments.__main__ import main
from loadtests.experiments.page import SECTIONS, broken, number, page
from loadtests.experiments.records import Cell, at_least, at_most, median, median_of, share


def run(output: Path, *options: str) -> Result:
    arguments = ["--runs", "10", "--output", str(output), *options]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def rows(text: str) -> list[list[str]]:
    lines = (line for line in text.splitlines() if line.startswith("| ") and " --- " not in line)
    cells = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    return [one for one in cells if one[0] != "setting"]


def test_the_command_measures_all_that_is_promised(tmp_path: Path) -> None:
    output = tmp_path / "EXPERIMENTS.md"
    done = run(output)
    text = output.read_text()
    assert text in done.output
    assert [f"## {one.title}" in text for one in SECTIONS.values()] == [True] * len(SECTIONS)
    found = {(one[0], one[1].strip("*")): one for one in rows(text)}
    figures = [figure for section in SECTIONS.values() for figure in section.figures.items()]
    for key, figure in figures:
        assert found[key][2] == number(figure)
        assert found[key][3]
    promised = [one for one in found.values() if one[6]]
    assert {one[7] for one in promised} <= {"kept", "**NOT KEPT**", "breaks it", ""}
    assert sum(one[7] == "breaks it" for one in promised) >= 15
    assert done.exit_code == ("NOT KEPT" in text)


def test_the_page_is_the_same_wherever_it_is_run(tmp_path: Path) -> None:
    options = ["--table", "split", "--table", "retries", "--table", "power"]
    first, second = tmp_path / "first.md", tmp_path / "second.md"
    run(first, *options)
    run(second, *options, "--processes", "1")
    assert first.read_text() == second.read_text()
    assert run(second, *options, "--seed", "21").exit_code in (0, 1)
    assert first.read_text() != second.read_text()


def test_a_method_that_breaks_its_promise_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the least events; the page is made of the same code as the read-out."""
    monkeypatch.setattr(effects, "LEAST_EVENTS", 0)
    found = {"events": [*peeking.with_the_least_events(60, 1)]}
    text = page(found, 60, 1, "numpy")
    assert "promises are not kept**: (A), 2 %, canary of 2 %" in text
    marked = [one for one in rows(text) if one[7] == "**NOT KEPT**"]
    assert ["2 %, canary of 2 %", "(A)"] in [one[:2] for one in marked]


def test_a_broken_promise_is_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected, "SPLIT", dict.fromkeys(expected.SPLIT, 10.0))
    found = [*SECTIONS["split"].simulated(10, 1)]
    assert broken({"split": found})
    output = tmp_path / "EXPERIMENTS.md"
    assert run(output, "--table", "split").exit_code == 1
    assert "**NOT KEPT**" in output.read_text()


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        (share("", "", [True] * 7 + [False] * 93, at_most(0.05)), True),
        (share("", "", [True] * 12 + [False] * 88, at_most(0.05)), False),
        (share("", "", [True] * 120 + [False] * 880, at_most(0.1)), True),
        (share("", "", [True] * 92 + [False] * 8, at_least(0.99)), False),
        (share("", "", [True] * 97 + [False] * 3, at_least(0.99)), True),
        (median("", "", [1_100.0] * 50, median_of(1_000)), True),
        (median("", "", [1_120.0] * 50, median_of(1_000)), False),
        (median("", "", [4.0] * 50, median_of(3)), True),
        (median("", "", [5.0] * 50, median_of(3)), False),
        (median("", "", [np.inf] * 50, median_of(3)), False),
        (share("", "", [True, False]), None),
    ],
)
def test_a_promise_is_kept_up_to_the_noise_of_the_simulation(cell: Cell, kept: bool | None) -> None:
    assert cell.kept is kept


def test_figures_are_short_and_never_hide_a_rare_one() -> None:
    shown = [number(value) for value in (0, 0.0003, 0.0312, 1, 3, 85.0, 7_200.4, np.inf, -0.005)]
    assert shown == ["0", ".00030", ".031", "1.000", "3", "85", "7,200", "never", "-.005"]


def test_what_is_looked_at_is_what_the_read_out_says() -> None:
    """Every look is one of `effect` and of `rate_ratio`."""
    rng = np.random.default_rng(4)
    stream = streams.events(rng, 20, [20, 20], 300, [0.1, 0.5], [(0.1, 0.15)] * 2)
    decided = judges.by_sequence(stream), judges.by_evidence(stream)
    for run in range(stream.runs):
        first = [-1, -1]
        for look in reversed(range(stream.looks)):
            one = effect(stream.sides(run, look), "binary", planned_units=judges.PLANNED)
            if isinstance(one, Effect) and one.p <= 0.05:
                first[0] = look
            x_a, x_b = (arm.total[run, look].astype(int) for arm in (stream.a, stream.b))
            counts = zip(x_b.tolist(), x_a.tolist(), [0.1, 0.5], strict=True)
            ratio = rate_ratio([EventCounts(*each) for each in counts])
            if isinstance(ratio, RateRatio) and ratio.p <= 0.05:
                first[1] = look
        assert [int(found[run]) for found in decided] == first
    assert min(int((found >= 0).sum()) for found in decided) > 10


def test_streams_add_up_over_their_epochs() -> None:
    rng = np.random.default_rng(5)
    stream = streams.events(rng, 3, [4, 6], 100, [0.2, 0.5], [(0.5, 0.5)] * 2)
    units = stream.a.units + stream.b.units
    assert units[0, :, 0].tolist() == [100, 200, 300, 400] + [400] * 6
    assert units[0, :, 1].tolist() == [0] * 4 + [100, 200, 300, 400, 500, 600]
    assert (np.diff(stream.b.total, axis=1) >= 0).all()
    assert stream.pooled().a.units[0, -1, 0] == stream.a.units[0, -1].sum()
    assert stream.at(np.array([0, 3, -1])).tolist() == [100, 400, np.inf]


def test_values_have_the_moments_of_what_they_are_made_of() -> None:
    stream = streams.values(
        np.random.default_rng(6), 2, 50, 200, lambda rng, shape: rng.lognormal(size=shape)
    )
    both = stream.a.total[0, -1, 0] + stream.b.total[0, -1, 0]
    assert both / 10_000 == pytest.approx(np.exp(0.5), rel=0.1)
    side = stream.sides(1, 49)[0]
    assert side.candidate.variance == pytest.approx((np.e - 1) * np.e, rel=0.4)
    assert side.baseline.units + side.candidate.units == 10_000


def test_fixed_thresholds_add_failed_checks_up() -> None:
    """99 % of some 50 requests of the canary allow for no error at all."""
    one = canaries.canary(np.random.default_rng(7), 0.005, 1, 400, 10_000 // canaries.STEP)
    found = one.fixed_thresholds()
    failing = 1 - 0.995**50
    assert found.shape == (400, 10)
    assert not found[:, :4].any()
    assert found[:, -1].mean() == pytest.approx(binom.sf(4, 10, failing), abs=0.04)


def test_weights_follow_the_outcomes_down_to_their_floor() -> None:
    rng = np.random.default_rng(8)
    shares, units, events = thompson.batches(rng, 20, thompson.thompson(0.05), (0.1, 0.2))
    assert shares[:, 0].tolist() == [0.5] * 20
    assert shares[:, -1].tolist() == pytest.approx([0.95] * 20)
    assert (units.sum(axis=2) == thompson.BATCH).all()
    assert (events <= units).all()
    assert thompson.decided(shares, events)[:, -1].all()


def test_the_written_page_is_of_this_command() -> None:
    text = (Path(__file__).parents[2] / "loadtests" / "EXPERIMENTS.md").read_text()
    found = {(one[0], one[1].strip("*")) for one in rows(text)}
    wanted = {key for section in SECTIONS.values() for key in section.figures}
    assert wanted <= found
    assert "NOT KEPT" not in text
