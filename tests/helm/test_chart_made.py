"""What of the chart is made from elsewhere is as it would be made now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from helmchart import CHART
from ruamel.yaml import YAML

from gateway import __version__

ROOT = CHART.parent


def test_version_dashboards_rules_and_table_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "chart.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), f"`make chart` makes anew: {done.stdout}"


def test_the_charts_version_is_the_gateways() -> None:
    chart = YAML(typ="safe").load(CHART / "Chart.yaml")
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def leaves(node: Any, path: str = "") -> set[str]:
    if isinstance(node, dict) and node:
        return set().union(*(leaves(one, f"{path}.{key}") for key, one in node.items()))
    return {path.removeprefix(".")}


def test_every_value_has_its_row() -> None:
    rows = re.findall(
        r"^\| `([a-zA-Z.]+)` \| `(.*?)` \| (.+) \|$", (CHART / "README.md").read_text(), re.M
    )
    told = {name for name, _, _ in rows}
    values = leaves(YAML(typ="safe").load(CHART / "values.yaml"))
    # One that is told as a whole is told.
    assert {
        one for one in values if not any(f"{one}.".startswith(f"{row}.") for row in told)
    } == set()
    assert all(len(says.split()) > 1 for _, _, says in rows)


def test_a_change_that_was_not_made_is_seen(tmp_path: Path) -> None:
    for name in ("helm", "deploy"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(tmp_path / name)], check=True)
    check = [sys.executable, str(tmp_path / "deploy" / "chart.py")]

    def stale() -> list[str]:
        done = subprocess.run([*check, "--check"], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout.split()

    assert stale() == []
    values = tmp_path / "helm" / "values.yaml"
    values.write_text(values.read_text().replace("replicas: 1\n", "replicas: 2\n"))
    rules = tmp_path / "deploy" / "prometheus" / "rules"
    rules.mkdir(parents=True, exist_ok=True)
    (rules / "more.yml").write_text("groups: []\n")
    left = tmp_path / "helm" / "files" / "dashboards"
    left.mkdir(parents=True, exist_ok=True)
    (left / "gone.json").write_text("{}")
    assert sorted(stale()) == [
        "helm/README.md",
        "helm/files/dashboards/gone.json",
        "helm/files/rules/more.yml",
    ]
    subprocess.run(check, check=True, capture_output=True)
    assert stale() == []
    assert not (left / "gone.json").exists()
