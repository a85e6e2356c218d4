"""The drift that the monitor tells, in the words of Prometheus."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
from alertrules import expressions
from driftdocs import document, people, status_of
from exposition import samples

from gateway.metrics import Metrics
from gateway.names import Branch

PROD, EXP = Branch("prod"), Branch("team/exp")


@pytest.fixture(scope="module")
def moved() -> dict[str, Any]:
    return document(people(1, 2000, "before"), people(2, 1000, "moved"))


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics()
    for branch in (PROD, EXP):
        metrics.branch(branch)
    return metrics


def exposed(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """The samples of drift in the exposition, as a server reads them."""
    return samples(metrics, "gateway_drift_", without="gateway_drift_")


def test_each_figure_of_a_column_stands_beside_its_threshold(
    metrics: Metrics, moved: dict[str, Any]
) -> None:
    metrics.drift.show(status_of(moved))
    found = exposed(metrics)
    columns = {column["column"]: column for column in moved["columns"]}
    assert columns["plan"]["severity"] == "critical"
    assert columns["tenure_months"]["severity"] == "alert"
    assert found["severity", "prod", "plan"] == 3
    assert found["severity", "prod", "tenure_months"] == 2
    assert found["severity", "prod", "age"] == 0
    for series, field in {
        "psi": "psi",
        "psi_null": "psi_null",
        "p": "p_tolerance",
        "tolerance": "tolerance",
        "missing_ratio": "missing_rate",
        "invalid_ratio": "invalid_rate",
        "out_of_range_ratio": "out_of_range_rate",
        "new_category_ratio": "new_category_rate",
        "mean_shift_sd": "mean_shift_sd",
    }.items():
        shown = {key[2]: value for key, value in found.items() if key[0] == series}
        known = {name: c[field] for name, c in columns.items() if c[field] is not None}
        assert shown == pytest.approx(known), series
    assert found["p_threshold", "prod"] == pytest.approx(0.01 / len(columns))


def test_the_branch_and_the_monitor_have_series_of_their_own(
    metrics: Metrics, moved: dict[str, Any]
) -> None:
    before = exposed(metrics)
    assert before["lag_rows",] == before["rows_total", "prod"] == 0
    assert before["columns", "prod", "alert"] == 0
    # What is not known before the first window is not told, rather than told as 0.
    assert not any("window_end" in key[0] or key[0] == "drifted" for key in before)

    metrics.drift.show(status_of(moved, most=2))
    found = exposed(metrics)
    assert found["lag_rows",] == 7
    assert found["left_out_rows_total",] == 3
    assert (found["rows_total", "prod"], found["rows_total", "team/exp"]) == (12345, 0)
    assert found["drifted", "prod"] == 1
    assert found["branch_severity", "prod"] == 3
    assert found["window_end_timestamp_seconds", "prod"] == 1795957200
    severities = [column["severity"] for column in moved["columns"]]
    told = {key[2]: value for key, value in found.items() if key[:2] == ("columns", "prod")}
    assert told == {word: severities.count(word) for word in told}
    assert sum(told.values()) == len(severities) > 2
    assert not any(
        key[1:] == ("team/exp",) for key in found if key[0] in ("drifted", "p_threshold")
    )


def test_a_column_that_is_no_longer_among_the_worst_leaves_nothing_behind(
    metrics: Metrics, moved: dict[str, Any]
) -> None:
    metrics.drift.show(status_of(moved))
    assert {key[2] for key in exposed(metrics) if key[0] == "severity"} > {"age", "plan"}
    metrics.drift.show(status_of(moved, most=1))
    assert {key[2] for key in exposed(metrics) if key[0] == "psi"} == {"age"}
    metrics.drift.show(None)
    assert not [key for key in exposed(metrics) if key[0] == "psi"]


def test_no_late_document_brings_back_a_branch_that_was_taken_out(
    metrics: Metrics, moved: dict[str, Any]
) -> None:
    said = {"prod": moved, "team/exp": {**moved, "branch": "team/exp"}}
    both = {
        **status_of(moved),
        "rows": dict.fromkeys(said, 5),
        "branches": {n: status_of(d)["branches"][n] for n, d in said.items()},
    }
    metrics.drift.show(both)
    assert {key[1] for key in exposed(metrics) if len(key) > 1} == {"prod", "team/exp"}
    metrics.keep([PROD])
    metrics.drift.show({**both})
    assert {key[1] for key in exposed(metrics) if len(key) > 1} == {"prod"}
    metrics.welcome([PROD, EXP])
    metrics.branch(EXP)
    assert exposed(metrics)["rows_total", "team/exp"] == 5


def test_a_name_of_any_kind_and_a_strange_document_leave_the_page_readable(
    metrics: Metrics, moved: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    status = status_of(moved, most=3)
    names = ['new\nline"} 1', "\ud800", "naïve 列"]
    for column, name in zip(status["branches"]["prod"]["columns"], names, strict=True):
        column["column"] = name
    metrics.drift.show(status)
    shown = {key[2] for key in exposed(metrics) if key[0] == "psi"}
    assert shown == {'new\nline"} 1', "?", "naïve 列"}

    metrics.drift.show({"branches": {"prod": {"columns": "many"}}})
    assert exposed(metrics)["lag_rows",] == 0
    (line,) = caplog.messages
    assert "branches[...].columns" in line


def test_the_alert_rules_name_series_that_are_there(
    metrics: Metrics, moved: dict[str, Any]
) -> None:
    metrics.drift.show(status_of(moved))
    there = {f"gateway_drift_{key[0]}" for key in exposed(metrics)}
    named = set(re.findall(r"gateway_\w+", expressions("drift")))
    assert len(named) > 4
    assert named <= there


@pytest.mark.needs("promtool")
def test_promtool_finds_nothing_wrong_with_the_series(
    metrics: Metrics, moved: dict[str, Any]
) -> None:
    metrics.drift.show(status_of(moved))
    given = metrics.render()[0]
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=given, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
