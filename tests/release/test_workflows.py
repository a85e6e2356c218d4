"""The workflows of CI and of a release: what they may do, and that what they call is there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(file)
    return found


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in FILES:
        for name, job in read(file)["jobs"].items():
            yield f"{file.stem}: {name}", job


def test_there_is_one_for_changes_and_one_for_releases() -> None:
    assert [file.name for file in FILES] == ["ci.yml", "release.yml"]
    assert set(read(FILES[0])["on"]) == {"push", "pull_request", "schedule"}
    assert read(FILES[1])["on"] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}


@pytest.mark.needs("zizmor")
def test_a_checker_of_workflows_finds_nothing() -> None:
    done = subprocess.run(
        [
            "zizmor",
            "--offline",
            "--persona",
            "pedantic",
            "--strict-collection",
            "--no-progress",
            ".",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_action_is_pinned_by_its_commit_and_says_its_version(file: Path) -> None:
    used = re.findall(r"uses: (.*)", file.read_text())
    assert used
    assert [
        one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", one)
    ] == []


def test_an_action_has_one_version_in_all_workflows() -> None:
    used = {
        tuple(one.split("@"))
        for file in FILES
        for one in re.findall(r"uses: (\S+)", file.read_text())
    }
    assert len(used) == len({name for name, _ in used})


def test_no_job_may_more_than_it_says_or_goes_on_for_ever() -> None:
    for file in FILES:
        assert read(file)["permissions"] == {}
    for name, job in jobs():
        assert "timeout-minutes" in job, name
        assert isinstance(job["permissions"], dict), name
        assert job["runs-on"] == "ubuntu-24.04", name


def test_nothing_of_an_event_is_pasted_into_a_script_and_no_checkout_keeps_a_token() -> None:
    for name, job in jobs():
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), name
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name


def test_whatever_is_published_was_checked_before() -> None:
    release = read(FILES[1])["jobs"]
    (check,) = (step["run"] for step in release["build"]["steps"] if "run" in step)
    assert check == 'make release-check TAG="$GITHUB_REF_NAME"'

    def behind(name: str) -> set[str]:
        needs = release[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct.union(*(behind(one) for one in direct))

    assert {name for name in release if "build" not in behind(name)} == {"build"}
    assert behind("announce") == set(release) - {"announce"}
    assert release["package"]["permissions"] == {"id-token": "write"}


def test_the_scripts_of_the_steps_are_sound_and_call_what_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    if not (ROOT / "Dockerfile").exists():
        targets.add("image")  # comes with it
    for name, job in jobs():
        for step in job["steps"]:
            script = step.get("run", "")
            subprocess.run(["bash", "-n"], input=script, text=True, check=True)
            assert set(re.findall(r"\bmake ([a-z-]+)", script)) <= targets, name
            for path in re.findall(r"^(\.ci/\S+|deploy/\S+)", script, re.MULTILINE):
                assert (ROOT / path).exists(), name


def test_the_words_of_a_release_are_those_of_its_version(tmp_path: Path) -> None:
    (script,) = (
        step["run"]
        for step in read(FILES[1])["jobs"]["announce"]["steps"]
        if "gh release" in step.get("run", "")
    )
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [0.2.10] - 2026-12-02\n\n- later\n\n"
        "## [0.2.1] - 2026-12-01\n\n### Added\n\n- this\n\n## [0.2.0] - 2026-11-01\n\n- before\n"
    )
    subprocess.run(
        ["bash", "-euc", script.partition("gh release")[0]],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": "v0.2.1"},
        check=True,
    )
    assert (tmp_path / "notes.md").read_text().split() == ["###", "Added", "-", "this"]
