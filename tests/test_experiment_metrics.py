"""The read-out that the monitor writes, in the words of Prometheus."""

from __future__ import annotations

import math
import re
import subprocess
from typing import get_args

import pytest
from alertrules import expressions
from experimentdocs import contrast, document, guardrail, metric, unknown
from exposition import samples

from gateway.experiments.document import Bounds, ContrastReadout, Word
from gateway.metrics import Metrics
from gateway.names import Branch

EXP = ("exp", "conversion")


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics()
    for branch in ("prod", "exp"):
        metrics.branch(Branch(branch))
    return metrics


def exposed(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """The samples of experiments in the exposition, as a server reads them."""
    return samples(metrics, "gateway_experiment_", "gateway_feedback_")


def told(metrics: Metrics, *contrasts: ContrastReadout) -> dict[tuple[str, ...], float]:
    metrics.experiment.show(document(*contrasts))
    return exposed(metrics)


def test_each_figure_of_a_metric_is_a_series_in_base_units(metrics: Metrics) -> None:
    found = told(metrics, contrast(guardrails=(guardrail(breached=True),)))
    assert found["experiment_relative_lift_ratio", *EXP] == 0.123
    assert found["experiment_relative_lift_low_ratio", *EXP] == 0.031
    assert found["experiment_relative_lift_high_ratio", *EXP] == 0.2204
    assert found["experiment_p", *EXP] == 0.0123
    assert found["experiment_log_e_value", *EXP] == pytest.approx(math.log(81.3))
    assert found["experiment_expected_seconds", *EXP] == 3.2 * 86_400
    assert found["experiment_events", "baseline", *EXP] == 4_061
    assert found["experiment_events", "candidate", *EXP] == 509
    assert found["experiment_units", "candidate", *EXP] == 4_480
    assert found["experiment_guardrail_breached", "exp", "error_rate"] == 1
    logged = found["experiment_guardrail_log_e_value", "exp", "error_rate"]
    assert logged == pytest.approx(math.log(450))
    assert found["experiment_sample_ratio_mismatch", "exp"] == 0
    assert found["experiment_written_timestamp_seconds",] == 1795957509


@pytest.mark.parametrize("word", get_args(Word))
def test_a_metric_stands_at_one_word_and_at_no_other(metrics: Metrics, word: Word) -> None:
    found = told(metrics, contrast(metrics=(metric(status=word),)))
    shown = {key[3]: value for key, value in found.items() if key[0] == "experiment_status"}
    assert shown == {one: float(one == word) for one in get_args(Word)}


def test_what_cannot_be_said_has_no_series_rather_than_a_nought(metrics: Metrics) -> None:
    unbounded = metric("orders", relative=Bounds(0.2, None, 0.5), p=None, log_e=None)
    found = told(metrics, contrast(metrics=(unknown("revenue"), unbounded), sample_ratio=None))
    assert {key[0] for key in found if key[1:] == ("exp", "revenue")} == set()
    assert found["experiment_status", "exp", "revenue", "insufficient"] == 1
    assert found["experiment_relative_lift_ratio", "exp", "orders"] == 0.2
    assert ("experiment_relative_lift_low_ratio", "exp", "orders") not in found
    assert ("experiment_sample_ratio_mismatch", "exp") not in found


def test_only_what_is_served_now_of_branches_that_are_still_there_has_series(
    metrics: Metrics,
) -> None:
    both = [contrast("exp"), contrast("gone"), contrast("exp", "stale", reason="older")]
    found = told(metrics, *both)
    assert {key[2] for key in found if key[0] == "experiment_units"} == {"exp"}
    assert found["experiment_status", *EXP, "running"] == 1
    metrics.keep([Branch("prod")])
    assert not [key for key in exposed(metrics) if "exp" in key]


def test_the_same_branch_twice_does_not_spoil_the_page(metrics: Metrics) -> None:
    twice = (metric(), metric(p=0.5))
    found = told(metrics, contrast(), contrast(metrics=twice, guardrails=(guardrail(),) * 2))
    assert found["experiment_p", *EXP] == 0.5
    lines = metrics.render()[0].decode().splitlines()
    assert len(lines) == len(set(lines))


def test_what_became_of_outcomes_is_counted_from_0_on(metrics: Metrics) -> None:
    joined = dict.fromkeys(("accepted", "late", "duplicate", "unknown"), 0.0)
    before = exposed(metrics)
    assert {key[1]: n for key, n in before.items() if key[0] == "feedback_joined_total"} == joined
    assert before["feedback_waiting",] == 0
    found = told(metrics)
    assert found["feedback_joined_total", "accepted"] == 4_012
    assert found["feedback_joined_total", "unknown"] == 1
    assert found["feedback_waiting",] == 7
    metrics.experiment.show(None)
    assert exposed(metrics) == before


def test_a_moment_that_is_none_leaves_the_rest_of_the_page(metrics: Metrics) -> None:
    metrics.experiment.show(document(written="a while ago"))
    found = exposed(metrics)
    assert found["experiment_p", *EXP] == 0.0123
    assert ("experiment_written_timestamp_seconds",) not in found


def test_the_alert_rules_name_series_that_are_there(metrics: Metrics) -> None:
    there = {f"gateway_{key[0]}" for key in told(metrics)}
    named = set(re.findall(r"gateway_(?:experiment|feedback)_\w+", expressions("experiment")))
    assert len(named) == 3
    assert named <= there


@pytest.mark.needs("promtool")
def test_promtool_finds_nothing_wrong_with_the_series_of_experiments(metrics: Metrics) -> None:
    told(metrics)
    given = metrics.render()[0]
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=given, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
