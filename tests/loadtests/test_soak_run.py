"""A whole soak in small: everything happens once, all is recorded, and no process is left."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from leftovers import ROOT, interrupted, left_behind

from loadtests.soak.plan import Deed

pytestmark = pytest.mark.timeout(1200)


def soak(folder: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "loadtests.soak", "--minutes=0.3", "--seed=5", *arguments]
    return [*command, f"--root={folder / 'soak'}", f"--output={folder / 'SOAK.md'}"]


def test_a_small_soak_does_everything_and_finds_every_answer_recorded_once(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        soak(tmp_path, "--clients=2"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    # How large a crowd fills the queues depends on the machine; all else must be right on any.
    problems = re.findall(r"^\s*- (no crowd was large enough.*)$", done.stdout, re.MULTILINE)
    listed = re.findall(r"^\s*- (.+)$", done.stdout.partition("FAILED")[2], re.MULTILINE)
    assert listed == problems, done.stdout + done.stderr
    assert (done.returncode == 0, "PASSED" in done.stdout) == (not problems, not problems)
    page = (tmp_path / "SOAK.md").read_text()
    for deed in Deed:
        assert re.search(rf"^\| {deed} \| [1-9]", page, re.MULTILINE), page
    for figure in ("answered request ids", "answered ids recorded exactly once, with all rows"):
        assert re.search(rf"^\| {figure} \| [1-9][\d,]+ \|$", page, re.MULTILINE), page
    for kind in ("front", "monitor", "worker"):
        assert re.search(rf"^\| {kind}, the longest-lived: RSS \| \d+ \| [1-9]", page, re.MULTILINE)
    assert left_behind(tmp_path) == []


def test_a_soak_bears_no_second_one_and_leaves_no_process_behind_when_interrupted(
    tmp_path: Path,
) -> None:
    interrupted(soak(tmp_path), tmp_path, Deed.TRAIN, "another soak runs")
    assert not (tmp_path / "SOAK.md").exists()
