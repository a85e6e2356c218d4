"""What the chart makes for Prometheus and Grafana; no schema of Kubernetes knows these kinds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helmchart import CHART, FOLDER, manifests, of_kind, parsed, rendered, template, the

pytestmark = pytest.mark.needs("helm")

API = "monitoring.coreos.com/v1"
RULES = """# Of users.
groups:
  - name: users
    rules:
      - alert: GatewayDown
        expr: up{job="gateway"} == 0
        annotations: {summary: "{{ $labels.instance }} is {{ if eq 1.0 $value }}up{{ end }}"}
"""
DASHBOARD = {"title": "Overview", "panels": [{"title": "{{branch}}", "expr": 'a{b="c\\\\d"}'}]}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """The chart without dashboards and rules."""
    target = tmp_path / "chart"
    shutil.copytree(CHART, target, ignore=shutil.ignore_patterns("files"))
    return target


def test_prometheus_finds_every_gateway_and_comes_in(tmp_path: Path) -> None:
    found = manifests("everything")
    monitor = the("ServiceMonitor", found)
    assert monitor["apiVersion"] == API
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    chosen = monitor["spec"]["selector"]["matchLabels"]
    (service,) = [
        one
        for one in of_kind("Service", found)
        if chosen.items() <= one["metadata"]["labels"].items()
    ]
    assert service["spec"]["clusterIP"] == "None"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert (endpoint["path"], endpoint["scheme"], endpoint["interval"]) == (
        *("/metrics", "https"),
        "30s",
    )
    credentials = endpoint["authorization"]["credentials"]
    assert credentials == {"name": "team-prometheus", "key": "key"}
    # Rules and dashboards speak of this job.
    assert {"targetLabel": "job", "replacement": "gateway"} in endpoint["relabelings"]
    plain = the(
        "ServiceMonitor", rendered(tmp_path, "minimal", {"serviceMonitor": {"enabled": True}})
    )
    (endpoint,) = plain["spec"]["endpoints"]
    assert endpoint["scheme"] == "http"
    assert "authorization" not in endpoint


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PrometheusRule"])
def test_auto_makes_them_where_the_cluster_knows_them(kind: str, chart: Path) -> None:
    (chart / "files" / "rules").mkdir(parents=True)
    (chart / "files" / "rules" / "users.yml").write_text(RULES)
    file = FOLDER / "minimal.yaml"
    without = parsed(template(file, chart=chart).stdout)
    assert of_kind(kind, without) == []
    found = parsed(template(file, apis=[f"{API}/{kind}"], chart=chart).stdout)
    assert the(kind, found)["apiVersion"] == API


def everything(chart: Path) -> list[Any]:
    done = template(FOLDER / "everything.yaml", chart=chart)
    assert done.returncode == 0, done.stderr
    return list(parsed(done.stdout))


def test_rules_are_taken_over_as_they_are(chart: Path) -> None:
    folder = chart / "files" / "rules"
    folder.mkdir(parents=True)
    (folder / "users.yml").write_text(RULES)
    (folder / "drift_rows.yml").write_text(RULES.replace("users", "drift"))
    rules = of_kind("PrometheusRule", everything(chart))
    assert [one["metadata"]["name"] for one in rules] == [
        "churn-models-drift-rows",
        "churn-models-users",
    ]
    assert rules[1]["metadata"]["labels"]["release"] == "prometheus"
    (group,) = rules[1]["spec"]["groups"]
    assert group["rules"][0]["expr"] == 'up{job="gateway"} == 0'
    assert "{{ $labels.instance }}" in group["rules"][0]["annotations"]["summary"]


def test_dashboards_are_taken_over_as_they_are(chart: Path) -> None:
    folder = chart / "files" / "dashboards"
    folder.mkdir(parents=True)
    text = json.dumps(DASHBOARD, indent=1)
    (folder / "overview.json").write_text(text)
    found = [
        one for one in of_kind("ConfigMap", everything(chart)) if "overview.json" in one["data"]
    ]
    (one,) = found
    assert one["data"]["overview.json"] == text
    assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert one["metadata"]["annotations"] == {"grafana_folder": "Models"}


def test_without_any_there_are_none(chart: Path) -> None:
    found = everything(chart)
    assert of_kind("PrometheusRule", found) == []
    assert len(of_kind("ConfigMap", found)) == 1
