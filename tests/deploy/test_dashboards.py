"""Every panel's query gives series on a real Prometheus over a real gateway.

Grafana itself is not to be had here: what is checked is all that it would ask, not what it draws.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alertrules import RECORDING, unknown
from gitrepo import Remote
from observed import Users, files, sin
from observing import Prometheus
from redisserver import RedisServer
from running import Gateway
from waiting import wait_until

promql_parser = pytest.importorskip("promql_parser")
dashboards = pytest.importorskip("deploy.grafana.dashboards")

NAMES = ("overview", "branch", "experiment", "resources")
FILES = {name: Path(dashboards.FOLDER) / f"{name}.json" for name in NAMES}
DASHBOARDS: dict[str, dict[str, Any]] = {n: json.loads(f.read_text()) for n, f in FILES.items()}
PROD, EXP, SHADOW, BROKEN = "prod", "exp", "shadow", "broken"
#: Nobody is to be answered late.
PATIENT = {"timeout": "20s"}
BRANCHES: dict[str, dict[str, Any]] = {
    PROD: {"weight": 50, "memory": "1GiB", **PATIENT},
    EXP: {"weight": 50, **PATIENT},
    SHADOW: {"shadow": True},
    BROKEN: {"weight": 10, **PATIENT},
}
VARIABLES = ("job", "branch", "metric", "instance")


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def queries(name: str) -> Iterator[tuple[str, str]]:
    """Of every panel, target by target, and of every line for events: whose, and the expression."""
    for panel in panels(name):
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for line in DASHBOARDS[name]["annotations"]["list"]:
        yield f"line {line['name']}", line["expr"]


QUERIES = [
    pytest.param(name, expr, id=f"{name}: {whose}")
    for name in NAMES
    for whose, expr in queries(name)
]


def filled(expr: str) -> str:
    """As Grafana asks it, with all of each variable chosen."""
    for name in VARIABLES:
        expr = expr.replace(f"${name}", ".+")
    expr = expr.replace("$__rate_interval", "4s")
    assert "$" not in expr, expr
    return expr


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_dashboard_is_the_one_that_the_code_makes(name: str) -> None:
    assert FILES[name].read_text() == dashboards.text_of(name), "run: make dashboards"


def test_no_file_of_dashboards_is_left_out() -> None:
    assert sorted(Path(dashboards.FOLDER).iterdir()) == sorted(FILES.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_survives_the_sdk_that_it_was_made_by(name: str) -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    committed = DASHBOARDS[name]
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(committed)))
    for line in committed["annotations"]["list"]:
        assert line.pop("titleFormat")  # which the SDK does not know
    assert again == committed


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_can_be_found_linked_to_and_read(name: str) -> None:
    page = DASHBOARDS[name]
    assert page["uid"] == f"gateway-{name}"
    assert page["tags"] == ["branch-gateway"]
    assert (page["graphTooltip"], page["editable"]) == (1, False)
    (link,) = page["links"]
    assert (link["tags"], link["includeVars"], link["keepTime"]) == (page["tags"], True, True)
    variables = {one["name"]: one for one in page["templating"]["list"]}
    assert {"datasource", "job", "branch"} <= variables.keys() <= {"datasource", *VARIABLES}
    for one in variables.values():
        if one["name"] != "datasource":
            assert one["multi"]
            assert one["includeAll"]
    assert {line["name"] for line in page["annotations"]["list"]} == {
        "Swaps",
        "Ejections",
        "Weights",
    }
    ids = [panel["id"] for panel in page["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", NAMES)
def test_a_panel_says_what_it_shows_in_which_unit_and_asks_the_chosen_source(name: str) -> None:
    titles = [(panel["type"], panel["title"]) for panel in panels(name)]
    assert len(titles) == len(set(titles))
    for panel in panels(name):
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24


@pytest.mark.parametrize(("name", "expr"), QUERIES)
def test_a_query_can_be_parsed_and_names_series_that_there_are(name: str, expr: str) -> None:
    promql_parser.parse(filled(expr))
    assert unknown(expr.replace("$__rate_interval", "4s")) - {"ALERTS"} == set()
    assert 'job=~"$job"' in expr
    if "rate(" in expr or "increase(" in expr:
        assert "[$__rate_interval]" in expr or "[30d]" in expr or "[1h]" in expr


@pytest.mark.parametrize("name", NAMES)
def test_the_choices_of_a_variable_are_of_series_that_there_are(name: str) -> None:
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            series, _, label = variable["query"].removeprefix("label_values(").rpartition(", ")
            assert unknown(series) == set()
            assert label.removesuffix(")") == variable["name"]


# For real


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("seen")
    remote = Remote(folder / "project.git")
    for name in BRANCHES:
        remote.commit(name, files(folder / "sins", name), start=None if name == PROD else PROD)
    settings: dict[str, Any] = {
        "drift": {"window": "4s", "min_rows": 100},
        "metrics": {"returned": {"kind": "binary", "role": "primary", "window": "2s"}},
        "redis": {"url_env": "REDIS_URL"},
        "unit_key_env": "UNIT_KEY",
    }
    with RedisServer() as server:
        environ = {"REDIS_URL": server.url, "UNIT_KEY": "a key of sixteen bytes"}
        gateway = Gateway(folder / "g", remote, BRANCHES, environ=environ, **settings)
        gateway.start()
        target = gateway.url.removeprefix("http://")
        try:
            with (
                Prometheus(folder / "p", {"gateway": [target]}, rules=[RECORDING]) as found,
                Users(gateway, returned=lambda branch, turn: turn % 10 < len(branch)) as users,
            ):
                _happen(gateway, remote, found, sin(folder / "sins", BROKEN))
                yield found
            assert users.failures == []
        finally:
            gateway.kill()


def _happen(gateway: Gateway, remote: Remote, prometheus: Prometheus, broken: Path) -> None:
    """What the lines of the dashboards stand for, once each; seen before a test asks."""
    wait_until(lambda: prometheus.query("count_over_time(gateway_ready[1m]) > 4"), 180.0)
    broken.write_text("fails")
    remote.commit(SHADOW, {"src/note.txt": "other content"})
    wait_until(lambda: prometheus.query("gateway_branch_ejections_total > 0"), 180.0, gateway.words)
    gateway.write(branches={**BRANCHES, PROD: {**BRANCHES[PROD], "weight": 60}})
    wait_until(lambda: prometheus.query("gateway_drift_psi"), 300.0, gateway.words)
    wait_until(lambda: prometheus.query("gateway_experiment_log_e_value"), 180.0, gateway.words)


@pytest.mark.needs("prometheus")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("name", "expr"), QUERIES)
def test_a_query_returns_series(prometheus: Prometheus, name: str, expr: str) -> None:
    asked = filled(expr)
    # An event is over after a moment: what is asked is whether there was one.
    past = f"last_over_time(({asked})[10m:1s])" if expr in EVENTS else asked
    wait_until(lambda: prometheus.query(past), 120.0, lambda: asked)


EVENTS = {line["expr"] for name in NAMES for line in DASHBOARDS[name]["annotations"]["list"]}
