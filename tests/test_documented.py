"""What is public is documented: settings, metrics and CSV columns, each on a page of deploy/.

The tables there are generated; `python tests/test_documented.py` writes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gateway.config import (
    AccessConfig,
    BranchConfig,
    Config,
    CredentialsConfig,
    DriftConfig,
    EnvironmentsConfig,
    LimitsConfig,
    MetricConfig,
    MonitoringConfig,
    RampConfig,
    RedisConfig,
    ReferenceConfig,
    TlsConfig,
    TrustConfig,
    WebhookConfig,
)
from gateway.metrics import Metrics
from gateway.monitoring.segments import COLUMNS

PAGES = Path(__file__).parent.parent / "deploy"

SECTIONS: dict[str, type[BaseModel]] = {
    "": Config,
    "access.": AccessConfig,
    "tls.": TlsConfig,
    "trust.": TrustConfig,
    "credentials.": CredentialsConfig,
    "webhook.": WebhookConfig,
    "redis.": RedisConfig,
    "branches.NAME.": BranchConfig,
    "branches.NAME.ramp.": RampConfig,
    "environments.": EnvironmentsConfig,
    "monitoring.": MonitoringConfig,
    "limits.": LimitsConfig,
    "drift.": DriftConfig,
    "drift.reference.": ReferenceConfig,
    "metrics.NAME.": MetricConfig,
}


def table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def settings() -> Iterator[tuple[str, ...]]:
    for prefix, section in SECTIONS.items():
        for name, field in section.model_fields.items():
            yield (
                f"`{prefix}{name}`",
                "required" if field.is_required() else _default(field),
                field.description or "",
            )


def _default(field: Any) -> str:
    value = field.default
    if isinstance(value, BaseModel):
        return "see below"
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple | dict):
        return f"`{_flow(value)}`"
    extra = field.json_schema_extra or {}
    if extra.get("unit") == "seconds":
        return f"`{_scaled(value, {'d': 86400, 'h': 3600, 'm': 60, 's': 1})}`"
    if extra.get("unit") == "bytes":
        return f"`{_scaled(value, {'GiB': 1024**3, 'MiB': 1024**2, 'KiB': 1024, 'B': 1})}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _flow(value: Any) -> str:
    """As it would stand in the file."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return f'"{value}"' if "*" in value else value
    return f"{value:g}"


def _scaled(value: float, units: dict[str, int]) -> str:
    unit = next(name for name, size in units.items() if value >= size and value % size == 0)
    return f"{value / units[unit]:g}{unit}"


def metrics() -> Iterator[tuple[str, ...]]:
    for family in Metrics().registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        yield f"`{name}`", family.type, family.documentation


def columns() -> Iterator[tuple[str, ...]]:
    for kind, names in COLUMNS.items():
        yield kind, ", ".join(f"`{name}`" for name in names)


def generated() -> dict[str, str]:
    return {
        "settings": table(("setting", "default", "what it says"), settings()),
        "metrics": table(("metric", "type", "what it says"), metrics()),
        "columns": table(("segment", "columns"), columns()),
    }


def rendered(name: str) -> str:
    """The page of that name, with the table in its place as it ought to be."""
    table = generated()[name].replace("\\", r"\\")
    pattern = rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)"
    page, places = re.subn(pattern, f"{table}\n", written(name), flags=re.DOTALL)
    assert places == 1, f"deploy/{name}.md has no place for its table"
    return page


def written(name: str) -> str:
    return (PAGES / f"{name}.md").read_text()


@pytest.mark.parametrize("name", ["settings", "metrics", "columns"])
def test_every_setting_metric_and_column_is_documented(name: str) -> None:
    assert rendered(name) == written(name), "run: .venv/bin/python tests/test_documented.py"


def test_every_setting_says_what_it_is() -> None:
    assert [row[0] for row in settings() if len(row[2]) < 15] == []


if __name__ == "__main__":
    for name in generated():
        (PAGES / f"{name}.md").write_text(rendered(name))
