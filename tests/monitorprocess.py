"""A real monitor process for tests, fed with chunk files by the test in the front's place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from gitrepo import Remote, git
from mounted import Mounted

ROOT = Path(__file__).parents[1]
PROGRAM = """
import logging, os, sys
from pathlib import Path
from gateway.monitoring.monitor import run_monitor
from gateway.monitoring.settings_file import SettingsFile
logging.basicConfig(level="INFO")
environ = {"PATH": sys.argv[4], "HOME": sys.argv[2]}
front = (sys.stdin.buffer, sys.stdout.buffer)
file = SettingsFile(Path(sys.argv[1]))
sys.exit(run_monitor(file, *front, environ, finish_within=float(sys.argv[3])))
"""


class MonitorProcess:
    """One state directory, and the monitor process on it, if one runs."""

    def __init__(
        self,
        state: Path,
        remote: Remote | Mounted,
        branches: list[str],
        *,
        url: str | None = None,
        drift: dict[str, Any] | None = None,
        experiment: dict[str, Any] | None = None,
        **monitoring: Any,
    ) -> None:
        """`url` is how it reaches the remote; its path if left out."""
        state.mkdir(parents=True, exist_ok=True)
        self.state = state
        self.url = url or remote.address
        self.branches = branches
        self.drift = drift or {}
        self.experiment = experiment or {}
        self.settings = state / "monitor-settings.json"
        self.finish_within = 10.0
        #: Where its git is found.
        self.path = os.environ["PATH"]
        self.process: subprocess.Popen[bytes] | None = None
        self.write_settings(**monitoring)

    @property
    def journal(self) -> Path:
        return self.state / "journal"

    def write_settings(self, **monitoring: Any) -> None:
        defaults = {"flush": 0.05, "retention": 1e9, "journal_bytes": 2**30, "target": "branch"}
        text = {
            "repository": self.url,
            "state_dir": str(self.state),
            "monitoring": {**defaults, **monitoring},
            "branches": self.branches,
            "baseline": next(iter(self.branches), None),
            "drift": self.drift,
            "experiment": self.experiment,
        }
        beside = self.settings.with_suffix(".new")
        beside.write_text(json.dumps(text))
        beside.rename(self.settings)

    def start(self, *, stdout: int = subprocess.DEVNULL) -> None:
        with (self.state / "words").open("ab") as words:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    PROGRAM,
                    str(self.settings),
                    str(self.state),
                    str(self.finish_within),
                    self.path,
                ],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=words,
                cwd=self.state,
                # Buffered as under the front, whatever runs the tests.
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
            )

    def look(self) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(b"look\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.communicate()
            self.process = None

    def finish(self) -> int:
        """End its input and wait for it; the exit code."""
        assert self.process is not None
        self.process.communicate(timeout=90)
        return self.process.returncode

    def waiting(self) -> list[Path]:
        return sorted(self.journal.glob("*/*.jsonl"))

    def status(self) -> dict[str, Any]:
        try:
            text = (self.state / "monitor.json").read_text()
        except FileNotFoundError:
            return {}
        found: dict[str, Any] = json.loads(text)
        return found

    def words(self) -> str:
        return (self.state / "words").read_text()


def pushed_rows(remote: Remote, kind: str = "predictions") -> list[str]:
    """Every data line of that kind in the segments of all branches' tips."""
    lines: list[str] = []
    for branch in git(remote.path, "branch", "--format=%(refname:short)").split():
        for path in remote.files(branch, f"monitoring/{kind}/"):
            lines += remote.read(branch, path).splitlines()[1:]
    return lines
