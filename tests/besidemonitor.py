"""A real `gateway monitor FILE` for tests: beside a gateway that has no monitor of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from waiting import wait_until


class BesideMonitor:
    """Runs from `start` to `stop` or `kill`, and not longer than the block around it."""

    def __init__(
        self,
        file: Path,
        environ: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._file = file
        self._arguments = list(arguments)
        self._environ = dict(environ or {})
        self._log = file.parent / "monitor.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        if error is not None:
            print(f"--- monitor of {self._file} ---\n{self.words()[-6000:]}")  # noqa: T201

    def start(self) -> Self:
        """Returns once it listens to fronts, or has ended."""
        mark = len(self.words())
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "monitor", *self._arguments, str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environ},
                start_new_session=True,
            )
        self.process = process
        wait_until(
            lambda: process.poll() is not None or "runs as process" in self.words()[mark:],
            describe=self.words,
        )
        return self

    def words(self) -> str:
        """All that it has logged so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
