"""The tutorial, followed to the letter by somebody who has nothing but its folder."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from following import Session, alike, steps
from ports import free_port

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "deploy" / "tutorial.md").read_text()
PERSON = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
}
#: What the page says to do where the gateway's own commit came in between.
AGAIN = "git pull --quiet --no-rebase --no-edit origin prod\ngit push --quiet origin prod\ncd ..\n"


@pytest.mark.needs("curl")
@pytest.mark.timeout(900)
def test_the_tutorial_leads_from_an_empty_folder_to_a_decision_and_back(tmp_path: Path) -> None:
    (tmp_path / "branch-gateway").symlink_to(ROOT)
    python = tmp_path / ".session-python"
    python.mkdir()
    (python / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    environment = {
        **{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
        **PERSON,
        "PATH": f"{python}{os.pathsep}{os.environ['PATH']}",
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",  # only what is imported is compiled, which is a small part
    }
    session = Session(tmp_path, environment)
    try:
        for step in steps(PAGE.replace("8080", str(free_port()))):
            if "git push --quiet origin prod\ncd .." in step.commands:
                failed, said = session.run(step.commands)
                if failed.startswith("git push"):
                    failed, said = session.run("cd project\n" + AGAIN)
                assert not failed, f"{failed} failed: {said}"
            else:
                session.follow(step)
        assert session.run("jobs")[1] == ""
    finally:
        session.end()
        if (log := tmp_path / "gateway.log").exists():
            print(log.read_text()[-6000:])  # noqa: T201
    assert "Traceback" not in re.sub(r'"traceback": .*', "", log.read_text())


def test_what_is_shown_is_told_from_what_is_not() -> None:
    assert alike("units 495 | 505\n… said", "units 1 |  20,000\n  anything\nwas said\n")
    assert alike('"commit": "855ec494dd74"', '"commit":"0123456789abcdef"')
    assert alike("+23.2 % (e 1e-6)", "-4 % (e 0.5)")
    assert not alike("BETTER: the candidate", "RUNNING: the candidate")
    assert not alike("units 495 | 505", "units 495 | none")
    assert not alike("3 rows", "3 rows, and more")
