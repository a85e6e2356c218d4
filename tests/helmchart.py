"""The chart in helm/, rendered by the real helm over the values in tests/helm/values."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CHART = Path(__file__).parents[1] / "helm"
FOLDER = Path(__file__).parent / "helm" / "values"
#: Every file of the matrix.
MATRIX = sorted(path.stem for path in FOLDER.glob("*.yaml"))
RELEASE, NAMESPACE = "churn", "models"

Manifest = Mapping[str, Any]


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["helm", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=240
    )


def template(
    *files: Path, apis: Sequence[str] = (), chart: Path = CHART, kube: str = "1.37"
) -> subprocess.CompletedProcess[str]:
    """`helm template`, and whatever it says."""
    given = [word for file in files for word in ("--values", str(file))]
    known = [word for api in apis for word in ("--api-versions", api)]
    return helm(
        *("template", RELEASE, chart, "--namespace", NAMESPACE, "--kube-version", kube),
        *given,
        *known,
    )


@cache
def text_of(name: str) -> str:
    """What a file of the matrix is rendered to."""
    done = template(FOLDER / f"{name}.yaml")
    assert done.returncode == 0, done.stderr
    return done.stdout


def parsed(text: str) -> list[Manifest]:
    return [one for one in YAML(typ="safe").load_all(text) if one is not None]


@cache
def manifests(name: str) -> list[Manifest]:
    return parsed(text_of(name))


def rendered(tmp_path: Path, name: str, changed: Mapping[str, Any], **more: Any) -> list[Manifest]:
    """A file of the matrix, with values over it."""
    over = tmp_path / "over.json"
    over.write_text(json.dumps(changed))
    done = template(FOLDER / f"{name}.yaml", over, **more)
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)


def values_of(name: str) -> dict[str, Any]:
    """As the file gives them, over the chart's own."""
    yaml = YAML(typ="safe")
    found: dict[str, Any] = _over(
        yaml.load(CHART / "values.yaml"), yaml.load(FOLDER / f"{name}.yaml")
    )
    return found


def _over(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    both = {key: _over(below[key], above[key]) for key in below.keys() & above.keys()}
    return {**below, **above, **both}


def of_kind(kind: str, found: Sequence[Manifest]) -> list[Manifest]:
    return [one for one in found if one["kind"] == kind]


def the(kind: str, found: Sequence[Manifest]) -> Manifest:
    """The only one."""
    (one,) = of_kind(kind, found)
    return one


def pods(found: Sequence[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Every pod: the kind of what makes it, its metadata, its spec."""
    for one in found:
        if one["kind"] == "Pod":
            yield "Pod", one["metadata"], one["spec"]
        elif "template" in one.get("spec", {}):
            yield one["kind"], one["spec"]["template"]["metadata"], one["spec"]["template"]["spec"]


def gateway_yaml(found: Sequence[Manifest]) -> dict[str, Any]:
    """What the pods read as gateway.yaml."""
    config = next(one for one in of_kind("ConfigMap", found) if "gateway.yaml" in one["data"])
    parsed_: dict[str, Any] = YAML(typ="safe").load(config["data"]["gateway.yaml"])
    return parsed_
