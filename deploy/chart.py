"""Make what of helm/ comes from elsewhere: version, dashboards, rules, and the table of values.

Run by `make chart`; `--check` changes nothing and says what is not as it would be made.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from gateway import __version__

ROOT = Path(__file__).parent.parent
CHART = ROOT / "helm"
#: What the chart carries along, since it cannot read beyond itself.
CARRIED = (
    (ROOT / "deploy" / "grafana" / "dashboards", "*.json", CHART / "files" / "dashboards"),
    (ROOT / "deploy" / "prometheus" / "rules", "*.yml", CHART / "files" / "rules"),
)
BEGIN, END = "<!-- values -->", "<!-- end of values -->"
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z]+):(?P<rest>.*)$")


class Value(NamedTuple):
    """One value of the chart."""

    name: str
    default: Any
    says: str


def values(text: str) -> Iterator[Value]:
    """Every value with a comment right above it, in the file's order."""
    whole = YAML(typ="safe").load(text)
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# "):
            comment.append(stripped.removeprefix("# "))
            continue
        found = _KEY.match(line)
        if found is not None:
            indent = len(found["indent"])
            path = [one for one in path if one[0] < indent] + [(indent, found["key"])]
            if comment:
                names = [key for _, key in path]
                yield Value(".".join(names), _at(whole, names), " ".join(comment))
        comment = []


def _at(whole: Any, names: list[str]) -> Any:
    for name in names:
        whole = whole[name]
    return whole


def table(text: str) -> str:
    """The values as a table of Markdown."""
    lines = ["| value | default | what it says |", "| --- | --- | --- |"]
    for one in values(text):
        default = json.dumps(one.default) if one.default != "" else '""'
        lines.append(f"| `{one.name}` | `{default}` | {one.says.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def made() -> dict[Path, str | None]:
    """Every generated file with its content; None for one that is to be gone."""
    found: dict[Path, str | None] = {}
    for source, pattern, target in CARRIED:
        found |= dict.fromkeys(target.glob(pattern))
        found |= {target / path.name: path.read_text() for path in sorted(source.glob(pattern))}
    chart = (CHART / "Chart.yaml").read_text()
    chart = re.sub(r"(?m)^version: .*$", f"version: {__version__}", chart)
    chart = re.sub(r"(?m)^appVersion: .*$", f'appVersion: "{__version__}"', chart)
    found[CHART / "Chart.yaml"] = chart
    readme = (CHART / "README.md").read_text()
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    said = table((CHART / "values.yaml").read_text())
    found[CHART / "README.md"] = f"{before}{BEGIN}\n{said}\n{END}{after}"
    return found


def main() -> int:
    stale = [
        path
        for path, content in made().items()
        if (path.read_text() if path.exists() else None) != content
    ]
    for path in stale:
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    if "--check" in sys.argv[1:]:
        return 1 if stale else 0
    for path, content in made().items():
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
