"""What is public is documented: settings, metrics and CSV columns stand in deploy/README.md.

The tables there are generated; `python tests/test_documented.py` writes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gateway.config import (
    BranchConfig,
    Config,
    CredentialsConfig,
    DriftConfig,
    LimitsConfig,
    MonitoringConfig,
    ReferenceConfig,
    WebhookConfig,
)
from gateway.metrics import Metrics
from gateway.monitoring.segments import COLUMNS

PAGE = Path(__file__).parent.parent / "deploy" / "README.md"

SECTIONS: dict[str, type[BaseModel]] = {
    "": Config,
    "credentials.": CredentialsConfig,
    "webhook.": WebhookConfig,
    "branches.NAME.": BranchConfig,
    "monitoring.": MonitoringConfig,
    "limits.": LimitsConfig,
    "drift.": DriftConfig,
    "drift.reference.": ReferenceConfig,
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
    if isinstance(value, tuple):
        return "`[" + ", ".join(value) + "]`"
    extra = field.json_schema_extra or {}
    if extra.get("unit") == "seconds":
        return f"`{_scaled(value, {'d': 86400, 'h': 3600, 'm': 60, 's': 1})}`"
    if extra.get("unit") == "bytes":
        return f"`{_scaled(value, {'GiB': 1024**3, 'MiB': 1024**2, 'KiB': 1024, 'B': 1})}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


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


def rendered(page: str) -> str:
    for name, text in generated().items():
        pattern = rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)"
        assert re.search(pattern, page, re.DOTALL), f"deploy/README.md has no place for {name}"
        page = re.sub(pattern, (text + "\n").replace("\\", r"\\"), page, flags=re.DOTALL)
    return page


def test_every_setting_metric_and_column_is_documented() -> None:
    page = PAGE.read_text()
    assert rendered(page) == page, "run: .venv/bin/python tests/test_documented.py"


def test_every_setting_says_what_it_is() -> None:
    assert [row[0] for row in settings() if len(row[2]) < 15] == []


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
