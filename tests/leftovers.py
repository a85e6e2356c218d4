"""Long commands that bear no second one beside them and leave no process behind."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from waiting import wait_until

ROOT = Path(__file__).parent.parent


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


def interrupted(command: Sequence[str], folder: Path, begun: str, refusal: str) -> None:
    """Start it, and it is alone and ends in order: a second is refused, SIGINT leaves nothing.

    `begun` is in its output once everything runs.
    """
    log = folder / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until(
            lambda: child.poll() is not None or begun in log.read_text(), 240.0, log.read_text
        )
        second = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
        )
        assert (second.returncode, refusal in second.stderr) == (2, True)
        child.send_signal(signal.SIGINT)
        assert child.wait(180) == 130, log.read_text()
    finally:
        child.kill()
        child.wait()
    assert "Traceback" not in log.read_text()
    wait_until(lambda: not left_behind(folder), describe=lambda: left_behind(folder))
