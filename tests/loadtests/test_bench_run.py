"""A whole race in small, with the project's own servers: every part works together."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import wait_until

from loadtests.bench.records import Results

ROOT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.needs("wrk"), pytest.mark.timeout(400)]


def bench(folder: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "loadtests.bench", *arguments]
    return [*command, f"--root={folder / 'bench'}", f"--output={folder / 'RESULTS.md'}"]


def left_behind(folder: Path) -> list[int]:
    """Processes that were started with something below the folder."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and str(folder) in _command(entry)
    ]


def _command(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_text(errors="replace")
    except OSError:
        return ""


def test_a_small_race_measures_checks_and_writes_its_page(tmp_path: Path) -> None:
    done = subprocess.run(
        bench(tmp_path, "--quick", "--models=lr", "--only=echo,gateway,starlette"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=380,
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
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            bench(tmp_path, "--models=lr", "--only=echo,gateway"),
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: child.poll() is not None or "round 1" in log.read_text(),
            240.0,
            log.read_text,
        )
        second = subprocess.run(
            bench(tmp_path, "--quick", "--only=echo"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (second.returncode, "another race runs" in second.stderr) == (2, True)
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130, log.read_text()
    finally:
        child.kill()
    assert not (tmp_path / "RESULTS.md").exists()
    wait_until(lambda: not left_behind(tmp_path), describe=lambda: left_behind(tmp_path))
