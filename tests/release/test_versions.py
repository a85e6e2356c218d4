"""The version stands in gateway/__init__.py, and nowhere does another one."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from gateway import __version__
from gateway.cli import main

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "Chart.yaml"


def headings() -> list[str]:
    """The versions of the changelog, the newest first."""
    return re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_it_is_a_semantic_version_that_the_package_and_the_command_have() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "gateway/__init__.py"
    assert __version__ in CliRunner().invoke(main, ["--version"]).output


def test_the_changelog_begins_with_what_is_to_come_or_with_this_version() -> None:
    newest, *older = headings()
    assert newest in ("Unreleased", __version__)
    released = older if newest == "Unreleased" else [newest, *older]
    assert released == sorted(released, key=key, reverse=True)
    assert all(key(version) <= key(__version__) for version in released)


@pytest.mark.skipif(not CHART.exists(), reason="there is no chart")
def test_the_chart_is_of_this_version() -> None:
    chart = YAML(typ="safe").load(CHART)
    assert {str(chart[name]) for name in ("version", "appVersion")} == {__version__}


@pytest.mark.skipif(not os.environ.get("TAG"), reason="nothing is released: no TAG")
def test_a_tag_is_the_version_and_the_changelog_says_what_is_in_it() -> None:
    assert os.environ["TAG"] == f"v{__version__}"
    assert headings()[0] == __version__, "CHANGELOG.md: give [Unreleased] this version and its date"
