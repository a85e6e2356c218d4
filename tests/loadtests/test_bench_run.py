"""A whole race in small, with the project's own servers: every part works together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from leftovers import ROOT, interrupted, left_behind

from loadtests.bench.records import Results

pytestmark = [pytest.mark.needs("wrk"), pytest.mark.timeout(1200)]


def bench(folder: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "loadtests.bench", *arguments]
    return [*command, f"--root={folder / 'bench'}", f"--output={folder / 'RESULTS.md'}"]


def test_a_small_race_measures_checks_and_writes_its_page(tmp_path: Path) -> None:
    done = subprocess.run(
        bench(tmp_path, "--quick", "--models=lr", "--only=echo,gateway,starlette"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    race = Results.read(tmp_path / "bench" / "figures.json")
    ran = {(run.server, run.connections) for run in race.runs}
    assert ran == {(name, n) for name in ("echo", "gateway", "starlette") for n in (1, 32)}
    assert all(run.rate > 0 and run.errors == 0 for run in race.runs)
    processes = {part.process for part in race.memory if part.server == "gateway"}
    assert {"front", "worker", "monitor"} <= processes
    used = [run.cpu for run in race.runs if run.server == "gateway"]
    assert all(cpu["front"] > 0 and cpu["worker"] > 0 for cpu in used)
    assert len(race.alone) == 1
    assert race.extras, "64 rows, and large bodies beside small ones"
    text = (tmp_path / "RESULTS.md").read_text()
    assert "A smoke run" in text
    assert "| BentoML | not asked for in this run (`--only`) |" in text
    assert left_behind(tmp_path) == []


def test_a_race_bears_no_second_one_and_leaves_no_process_behind_when_interrupted(
    tmp_path: Path,
) -> None:
    command = bench(tmp_path, "--models=lr", "--only=echo,gateway")
    interrupted(command, tmp_path, "round 1", "another race runs")
    assert not (tmp_path / "RESULTS.md").exists()
