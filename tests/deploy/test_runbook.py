"""Every command that the runbook tells somebody at night is run against a real gateway."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alertrules import DEPLOY
from gitrepo import Remote
from observed import Users, files
from running import Gateway
from waiting import wait_until

RUNBOOK = (DEPLOY / "runbook.md").read_text()
SETTINGS = (DEPLOY / "settings.md").read_text()
#: Lines of its blocks, which are indented by four more than what is around them.
COMMANDS = sorted(
    {
        line.partition("   #")[0].strip()
        for line in re.findall(r"^(?:    |      )((?:curl|gateway|df) .*)$", RUNBOOK, re.MULTILINE)
    },
    # A branch that is held out is no use to the others.
    key=lambda line: ("gateway release" in line, "gateway hold" in line, line),
)
BRANCHES = {"prod": {"weight": 1}, "exp": {"weight": 1}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Path]]:
    folder = tmp_path_factory.mktemp("night")
    remote = Remote(folder / "project.git")
    for number, name in enumerate(BRANCHES):
        start = None if name == "prod" else "prod"
        remote.commit(name, files(folder / "sins", name, number / 10), start=start)
    settings: dict[str, Any] = {
        "drift": {"window": "2s", "min_rows": 100},
        "metrics": {"returned": {"kind": "binary", "role": "primary", "window": "1s"}},
    }
    gateway = Gateway(folder / "g", remote, BRANCHES, **settings)
    gateway.start()
    try:
        with Users(gateway, returned=lambda branch, turn: turn % 2 == 0):

            def measured() -> bool:
                drift = gateway.branch("exp")["drift"]
                contrasts = gateway.get("/experiment").json()["contrasts"]
                return bool(drift and drift["window_end"] and contrasts)

            wait_until(measured, 240.0, gateway.words)
        yield gateway, folder
    finally:
        gateway.kill()


def test_the_runbook_has_commands() -> None:
    said = " ".join(COMMANDS)
    for part in ("gateway drift", "gateway results", "gateway hold", "gateway release", "curl"):
        assert part in said


@pytest.mark.needs("curl")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_runbook_works(place: tuple[Gateway, Path], command: str) -> None:
    gateway, folder = place
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = {"GATEWAY": gateway.url, "BRANCH": "exp", "CONFIG": str(gateway.file)}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, **said, "PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # A page is written to a file, and nothing need be said of that.
    assert done.stdout.strip() or "-o " in command
    assert '"error": {' not in done.stdout


def test_fields_that_the_runbook_names_are_there(place: tuple[Gateway, Path]) -> None:
    gateway, _ = place
    page, branch = gateway.get("/branches").json(), gateway.branch("exp")
    # `shared` is there where replicas are; the rest always. Settings have the same form.
    named = {
        name
        for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", RUNBOOK)
        if name.split(".")[0] in page.keys() | branch.keys() and f"`{name}`" not in SETTINGS
    }
    assert len(named) > 8
    for name in sorted(named):
        assert any(_has(found, name.split(".")) for found in (page, branch)), name


def _has(found: object, parts: list[str]) -> bool:
    for part in parts:
        if found is None:
            return True  # it is there when there is something to say
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True
