"""The rules and alerts that are shipped: right by the tools, complete, and each with its page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from alertrules import ALERTS, DEPLOY, RECORDING, Alert, alerts, loaded, recorded, unknown

PROMETHEUS = DEPLOY / "prometheus"
RUNBOOK = (DEPLOY / "runbook.md").read_text()
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
SECTIONS: dict[str, str] = dict(
    re.findall(r"^## (\w+)\n(.*?)(?=^#|\Z)", RUNBOOK, re.DOTALL | re.MULTILINE)
)


def run(*command: str | Path, folder: Path = PROMETHEUS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.needs("promtool")
@pytest.mark.parametrize(
    "command",
    [("config", "prometheus.yml"), ("rules", "rules/recording.yml", "rules/alerts.yml")],
    ids=["config", "rules"],
)
def test_promtool_finds_nothing_wrong(command: tuple[str, ...]) -> None:
    done = run("promtool", "check", *command)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_alerts_fire_when_they_should_and_not_before(file: Path) -> None:
    done = run("promtool", "test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("promtool")
def test_the_unit_tests_find_a_wrong_threshold(tmp_path: Path) -> None:
    copy = tmp_path / "prometheus"
    shutil.copytree(PROMETHEUS, copy)
    rules = copy / "rules" / "alerts.yml"
    text = rules.read_text()
    rules.write_text(text.replace("gateway_repository_up == 0", "gateway_repository_up == 2"))
    assert rules.read_text() != text
    done = run("promtool", "test", "rules", "tests/repository.yml", folder=copy)
    assert done.returncode == 1
    assert 'exp: {alertname="RepositoryAway"}' in done.stdout + done.stderr


def test_each_alert_has_a_unit_test_in_which_it_fires_and_each_test_one_in_which_none_does() -> (
    None
):
    fired: set[str] = set()
    for file in TESTS:
        for group in loaded(file)["tests"]:
            quiet, firing = (test["exp_samples"] for test in group["promql_expr_test"])
            assert quiet == [], f"{file.name}: {group['name']}"
            fired |= set(re.findall(r'alertname="(\w+)"', str(firing)))
    assert fired == {alert.name for alert in alerts()}


@pytest.mark.needs("amtool")
def test_amtool_finds_nothing_wrong() -> None:
    done = run("amtool", "check-config", "alertmanager.yml", folder=DEPLOY / "alertmanager")
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_speaks_of_alerts_that_there_are() -> None:
    rules = loaded(DEPLOY / "alertmanager" / "alertmanager.yml")["inhibit_rules"]
    named = set(re.findall(r"[A-Z]\w+", str([rule["source_matchers"] for rule in rules])))
    named |= set(re.findall(r"[A-Z]\w+", str([rule["target_matchers"] for rule in rules])))
    assert named <= {alert.name for alert in alerts()}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(alert: Alert) -> None:
    assert alert.severity in ("critical", "warning", "info")
    assert alert.annotations.keys() == {"summary", "description", "runbook_url"}
    assert len(alert.annotations["summary"]) < 110
    page, _, heading = alert.annotations["runbook_url"].partition("#")
    assert page.endswith("/deploy/runbook.md")
    assert heading == alert.name.lower()
    assert unknown(alert.expr) == set()


def test_the_runbook_has_a_page_for_each_alert_and_for_nothing_else() -> None:
    assert SECTIONS.keys() == {alert.name for alert in alerts()}
    assert list(SECTIONS) == [alert.name for alert in alerts()], "in the order of the rules"


@pytest.mark.parametrize("name", SECTIONS)
def test_a_page_says_what_it_is_for_users_what_to_do_and_when_to_sleep_on(name: str) -> None:
    said = " ".join(re.findall(r"\*\*(.+?):\*\*", SECTIONS[name]))
    for part in ("For users", "See", "Now", "After", "Ignore when"):
        assert part in said, f"{name} has no **{part}:**"


def test_links_within_the_runbook_lead_somewhere() -> None:
    headings = {name.lower() for name in SECTIONS}
    assert set(re.findall(r"\]\(#([^)]*)\)", RUNBOOK)) <= headings


@pytest.mark.parametrize("record", recorded())
def test_a_recording_is_made_of_series_that_there_are(record: str) -> None:
    assert re.fullmatch(r"(job|branch):gateway_\w+:\w*rate\w+", record)
    assert unknown(recorded()[record]) == set()


def test_a_misspelt_series_is_found() -> None:
    assert unknown("sum by (branch) (rate(gateway_request_total[5m])) > 0") == {
        "gateway_request_total"
    }
    assert unknown("gateway_rows_total or job:gateway_slow:ratio_rate9m") == {
        "job:gateway_slow:ratio_rate9m"
    }


def test_no_file_of_rules_is_left_out() -> None:
    assert sorted((PROMETHEUS / "rules").iterdir()) == sorted([ALERTS, RECORDING])
