"""The loads on drift: rules of libraries by hand, a run in small, and the page made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import ks_2samp

from gateway.statistics.drift import Rules, of_reference
from gateway.statistics.profiler import reference_columns
from loadtests.bench import places
from loadtests.bench.records import Machine
from loadtests.drift import comparison, rules, simulation, throughput
from loadtests.drift.__main__ import main
from loadtests.drift.comparison import Comparison, Verdict, false_alarm_share
from loadtests.drift.expected import FALSE_ALARMS, POWER, REPEATED
from loadtests.drift.page import beside, page, rate
from loadtests.drift.populations import POPULATIONS, bins_of, latent, window_of
from loadtests.drift.records import Compared, Figures, Part

PART = Part("2026-01-01", Machine("cpu", 2, 1, "Linux", "3.11", "", 0.1), {"numpy": "2"}, 3.0)


def test_rates_are_short_and_never_hide_a_rare_one() -> None:
    assert [rate(share) for share in (0, 0.0025, 0.31, 1)] == ["0", ".0025", ".31", "1.00"]
    assert beside(0.3, 0.31) == ".30 / .31"
    assert beside(0.3, None) == ".30"


def test_psi_of_deciles_is_that_of_the_counts() -> None:
    reference = np.arange(1_000.0)
    window = np.concatenate((np.arange(0, 100.0), np.arange(0, 1_000, 10.0)))
    # Of 200 rows 110 are in the first decile, 10 in each of the others; and a half in each.
    first, others = 110.5 / 205, 10.5 / 205
    wanted = (0.1 - first) * np.log(0.1 / first) + 9 * (0.1 - others) * np.log(0.1 / others)
    assert rules.psi_of_deciles(reference, window) == pytest.approx(wanted)


def test_bins_over_both_samples_are_raised_where_they_are_empty() -> None:
    reference, window = np.zeros(9), np.append(np.zeros(8), 100.0)
    p, q = rules.binned_over_both(reference, window)
    assert p.tolist() == [1.0, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4]
    assert q.tolist() == pytest.approx([8 / 9, 1e-4, 1e-4, 1e-4, 1e-4, 1 / 9])


def test_the_rules_fire_where_their_figures_say() -> None:
    rng = np.random.default_rng(0)
    reference, window = rng.normal(size=5_000), rng.normal(0.15, 1, 2_000)
    p = ks_2samp(reference, window, method="asymp").pvalue
    assert rules.ks_p(reference, window) == p
    assert rules.RULES["KS p < .05"](reference, window)
    assert not rules.RULES["KS p < .05"](reference, reference[:500])
    assert rules.distance_in_sd(reference, window) == pytest.approx(0.15, abs=0.05)
    assert rules.RULES["Evidently W1 ≥ .1"](reference, window)
    assert not rules.RULES["PSI(10) > .1"](reference, window)


def test_repeated_users_share_what_the_intraclass_correlation_says() -> None:
    rows = latent(np.random.default_rng(1), 50_000, 10).reshape(-1, 10)
    assert rows.var() == pytest.approx(1, abs=0.03)
    assert np.corrcoef(rows[:, 0], rows[:, 1])[0, 1] == pytest.approx(0.8, abs=0.02)
    assert latent(np.random.default_rng(1), 100).shape == (100,)


@pytest.mark.parametrize(
    ("each", "scaled", "share"), [(1, True, 1), (10, True, 0.1), (10, False, 1)]
)
def test_a_simulated_windows_units_are_as_many_as_they_should_be(
    each: int, scaled: bool, share: float
) -> None:
    values = np.random.default_rng(2).normal(size=20_000)
    window = window_of(bins_of(values[:1_000]), values, each, scaled=scaled)
    assert window.independence == pytest.approx(share, rel=0.1)


def test_every_population_is_what_its_name_says() -> None:
    rows = latent(np.random.default_rng(3), 20_000)
    kinds = {name: bins_of(make(rows)).profile.columns[0] for name, make in POPULATIONS.items()}
    assert len(kinds["3 categories"].values) == 3
    assert len(kinds["80 categories"].values) == 80
    assert (len(kinds["500 categories"].values), kinds["500 categories"].other > 0) == (100, True)
    assert max(kinds["zero-inflated"].counts) > 9_000
    assert kinds["heavy tail"].kind == "numeric"


def test_a_run_in_small_finds_what_it_is_for() -> None:
    (small, *_) = simulation.false_alarms(40, 1, (100,))
    assert small.of("PSI(10) > .1") > 0.1
    assert small.of(simulation.OURS) == 0
    few, *_ = simulation.repeated_users(20, 1)
    assert few.of("chi² p < .01") > 0.15
    assert few.of(simulation.OURS) == 0
    power = {one.what: one for one in simulation.power(10, 1, (300,))}
    assert power["mean +1 sd"].of("0.05") == 1
    assert power["none"].of("0.05") == 0


def test_what_is_expected_names_rules_and_shifts_that_are_there() -> None:
    known = {*rules.RULES, simulation.OURS, "chi² p < .01", "ours, rows as units"}
    for expected in (*FALSE_ALARMS.values(), *REPEATED.values()):
        assert set(expected) <= known
    assert {shift for shift, _ in POWER} == set(simulation.SHIFTS)
    assert {len(row) for row in POWER.values()} == {len(simulation.TOLERANCES)}
    assert len(POWER) == 4 * len(simulation.SHIFTS)


def test_the_benchs_columns_are_of_every_kind() -> None:
    values = throughput.values(30, 200, 1)
    kinds = [column.kind for column in reference_columns(values)]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "numeric": 24,
        "discrete": 3,
        "categorical": 3,
    }


def test_the_comparisons_window_is_shifted_where_it_says_and_nowhere_else() -> None:
    reference, window = comparison.reference_and_window(5_000)
    assert {len(values) for values in reference.values()} == {426}
    verdicts = comparison.ours(reference, window)
    fired = {name for name, verdict in verdicts.items() if verdict.share}
    assert fired == {"mean radius", "mean texture", "mean perimeter", "mean area", "plan"}
    assert verdicts["mean area"].said == "alert: missing"
    assert false_alarm_share(verdicts) == 0
    assert list(window) == list(reference)


def test_half_the_chunks_are_half_a_false_alarm() -> None:
    verdicts = {"a": Verdict("", 0.5), "heavy": Verdict("", 0.0), "mean radius": Verdict("", 1.0)}
    assert false_alarm_share(verdicts) == 0.25


def test_a_peer_that_does_not_install_is_missing_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_root: Path, name: str, _requirements: Path) -> places.Place:
        raise places.Missing(f"no {name} for this Python")

    monkeypatch.setattr(comparison, "installed", refuse)
    found = comparison.compared(tmp_path, lambda _text: None)
    assert [one.rows for one in found] == [200, 5_000]
    assert [list(one.verdicts) for one in found] == [["gateway"]] * 2
    text = page(Figures(compare=Compared(PART, found)))
    assert "nannyml is missing: no nannyml for this Python" in text
    assert (tmp_path / "window-200.csv").read_text().count("\n") == 201


def test_the_page_shows_what_was_measured_and_says_what_was_not() -> None:
    column = {name: Verdict("D 0.5", 1.0) for name in comparison.SHIFTED}
    ours = {name: Verdict("PSI 1", 1.0, "alert: distribution") for name in comparison.SHIFTED}
    other = {name: Verdict("JS .3", 0.3) for name in comparison.SHIFTED}
    verdicts = {"gateway": ours, "evidently": column, "nannyml": other}
    compared = Compared(PART, [Comparison(200, verdicts, {}, {"evidently": "0.7"})])
    text = page(Figures(compare=compared))
    assert "Not measured: `make drift-tables`." in text
    assert "Not measured: `make drift-bench`." in text
    cells = "**alert: distribution**, PSI 1 | **drift**, D 0.5 | **3 of 10 chunks**, JS .3 |"
    assert f"| mean texture | mean +1 sd | {cells}" in text
    assert "| gateway | evidently 0.7 | nannyml |" in text


def test_the_command_writes_its_page_from_parts_of_several_runs(tmp_path: Path) -> None:
    output, root = tmp_path / "DRIFT.md", tmp_path / "drift"
    options = ["--output", str(output), "--root", str(root)]
    Path(root).mkdir()
    Figures(compare=Compared(PART, [])).write(root / "figures.json")
    done = CliRunner().invoke(main, ["report", *options], catch_exceptions=False)
    assert done.exit_code == 0
    assert "## Verdicts beside" in output.read_text()
    (root / "figures.json").write_text('{"tables": "of another form"}')
    CliRunner().invoke(main, ["report", *options], catch_exceptions=False)
    assert output.read_text().count("Not measured") == 3


def test_the_simulations_verdicts_are_those_of_a_whole_window() -> None:
    """`window_of` counts what `Window.add` is given: the same verdict as for any other rows."""
    rng = np.random.default_rng(5)
    bins = bins_of(rng.normal(size=5_000))
    (drift,) = of_reference(window_of(bins, rng.normal(1, 1, 500)), Rules())
    assert (drift.severity, drift.n, drift.n_ref) == ("critical", 500, 5_000)
