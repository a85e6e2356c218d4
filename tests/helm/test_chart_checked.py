"""The chart before those who judge charts: helm, Kubernetes' own schemas, checkov."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from helmchart import CHART, FOLDER, MATRIX, helm, template, text_of
from ruamel.yaml import YAML

pytestmark = pytest.mark.needs("helm")

VERSIONS = ("1.33", "1.35", "1.37")
ACCEPTED = Path(__file__).parent / "checkov-accepted.yaml"


@pytest.mark.parametrize("name", MATRIX)
def test_helm_has_nothing_to_say(name: str) -> None:
    done = helm("lint", "--strict", CHART, "--values", FOLDER / f"{name}.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.needs("kubernetes-validate")
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version: str, tmp_path: Path) -> None:
    files = []
    for name in MATRIX:
        done = template(FOLDER / f"{name}.yaml", kube=version)
        assert done.returncode == 0, done.stderr
        file = tmp_path / f"{name}.yaml"
        file.write_text(done.stdout)
        files.append(str(file))
    done = subprocess.run(
        ["kubernetes-validate", "--strict", "-k", version, *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    # It knows none of the operator's kinds; test_chart_observed.py looks at those.
    assert {
        line for line in said.splitlines() if "WARN" in line and "monitoring.coreos" not in line
    } == set()
    assert said.count(" passed for resource statefulset/") == len(MATRIX)


@pytest.mark.needs("kubernetes-validate")
def test_a_field_that_kubernetes_does_not_know_would_be_seen(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text_of("minimal").replace("podManagementPolicy:", "podManagmentPolicy:"))
    done = subprocess.run(
        ["kubernetes-validate", "--strict", "-k", VERSIONS[-1], str(wrong)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 1
    assert "podManagmentPolicy" in done.stdout + done.stderr


@pytest.mark.needs("checkov")
def test_checkov_finds_what_is_accepted_with_a_reason_and_nothing_else(tmp_path: Path) -> None:
    for name in MATRIX:
        (tmp_path / f"{name}.yaml").write_text(text_of(name))
    done = subprocess.run(
        [
            *("checkov", "-d", str(tmp_path), "--framework", "kubernetes"),
            *("--skip-download", "--quiet", "--compact", "--output", "json"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    found = json.loads(done.stdout)
    assert found["summary"]["parsing_errors"] == 0
    assert found["summary"]["passed"] > 100 * len(MATRIX)
    accepted = YAML(typ="safe").load(ACCEPTED)
    seen: Counter[str] = Counter()
    beyond = []
    for one in found["results"]["failed_checks"]:
        check, file = one["check_id"], Path(one["file_path"]).stem
        rule = accepted.get(check)
        place = f"{file} {one['resource']}"
        if rule is None or not re.search(rule["where"], place):
            beyond.append(f"{check} {one['check_name']}: {place}")
        else:
            seen[check] += 1
    assert beyond == []
    assert seen.keys() == accepted.keys(), "what is accepted for nothing is taken off the list"


def test_it_makes_a_package_of_what_it_needs(tmp_path: Path) -> None:
    done = helm("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    shown = helm("template", "x", package, "--values", FOLDER / "everything.yaml")
    assert shown.returncode == 0, shown.stderr
