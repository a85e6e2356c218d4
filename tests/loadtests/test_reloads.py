"""The bench of reloads in small: what it does is done, and its figures are there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.needs("wrk")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("own", [[], ["--own"]])
def test_reloads_under_load_fail_no_request_and_take_a_spare(
    tmp_path: Path, own: list[str]
) -> None:
    command = [sys.executable, "-m", "loadtests.reloads", "--reloads=2", "--seconds=1", *own]
    done = subprocess.run(
        [*command, f"--root={tmp_path}", "--connections=4"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 reloads, 2 by a spare" in done.stdout
    assert " 0 failed" in done.stdout
    assert "seen to serving  median " in done.stdout
