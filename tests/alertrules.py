"""The committed rules of Prometheus, as data, and which series a text of them names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from ruamel.yaml import YAML

from gateway.metrics import Metrics

DEPLOY = Path(__file__).parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "rules"
ALERTS, RECORDING = RULES / "alerts.yml", RULES / "recording.yml"
#: Series that Prometheus makes itself.
_OF_PROMETHEUS = {"up"}


@dataclass(frozen=True)
class Alert:
    """One rule of alerts.yml."""

    name: str
    expr: str
    severity: str
    annotations: dict[str, str]
    group: str


def loaded(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def alerts() -> list[Alert]:
    return [
        Alert(
            rule["alert"],
            rule["expr"],
            rule["labels"]["severity"],
            rule["annotations"],
            group["name"],
        )
        for group in loaded(ALERTS)["groups"]
        for rule in group["rules"]
    ]


def expressions(group: str) -> str:
    """All of a group's expressions."""
    return "\n".join(alert.expr for alert in alerts() if alert.group == group)


def recorded() -> dict[str, str]:
    """The recording rules: what each is made of."""
    return {
        rule["record"]: rule["expr"]
        for group in loaded(RECORDING)["groups"]
        for rule in group["rules"]
    }


def exposed() -> set[str]:
    """Every series name of the gateway: those of the documented table, and a histogram's parts."""
    return {name for family in Metrics().registry.collect() for name in _names(family)}


def _names(family: Metric) -> Iterator[str]:
    if family.type == "histogram":
        yield from (f"{family.name}_{part}" for part in ("bucket", "sum", "count"))
    else:
        yield family.name + ("_total" if family.type == "counter" else "")


def unknown(promql: str) -> set[str]:
    """Series that an expression names and nobody makes."""
    # Of what stands in quotes or braces, or is a duration, nothing is a series.
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", promql)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    named = set(re.findall(r"[a-zA-Z_][\w:]*(?!\s*\()\b", bare)) - _WORDS
    return named - exposed() - recorded().keys() - _OF_PROMETHEUS


_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "e"} | {
    *("sum", "max", "min", "avg", "count", "rate", "increase", "changes", "time", "absent"),
    *("histogram_quantile", "topk", "clamp_min", "clamp_max", "label_replace", "resets", "vector"),
    *("delta", "deriv", "timestamp", "group", "quantile", "sort_desc", "max_over_time"),
}
