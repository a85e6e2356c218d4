"""Writes the dashboards' JSON: `make dashboards`, or `python -m deploy.grafana.dashboards`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.branch import branch
from deploy.grafana.experiment import experiment
from deploy.grafana.overview import overview
from deploy.grafana.panels import EVENTS
from deploy.grafana.resources import resources

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS: dict[str, Callable[[], Dashboard]] = {
    "overview": overview,
    "branch": branch,
    "experiment": experiment,
    "resources": resources,
}


def text_of(name: str) -> str:
    """The JSON of one dashboard."""
    found: dict[str, Any] = json.loads(JSONEncoder(indent=2).encode(DASHBOARDS[name]().build()))
    titles = {event.name: event.title for event in EVENTS}
    for line in found["annotations"]["list"]:
        # The SDK knows no titles of Prometheus' events.
        line["titleFormat"] = titles[line["name"]]
    for number, panel in enumerate(found["panels"], 1):
        panel["id"] = number
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(text_of(name))


if __name__ == "__main__":
    main()
