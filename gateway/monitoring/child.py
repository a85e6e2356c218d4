"""The monitor as the front sees it: a child process that is told to look and says how it stands.

Keeps it running; knows nothing of segments or pushes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.monitoring.ear import LOOK, REMOTE
from gateway.monitoring.said import Said

log = logging.getLogger(__name__)


class MonitorDied(RuntimeError):
    """The monitor process ended by itself."""


class MonitorChild(Said):
    """Starts the command, forwards its status documents, ends it in order."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        status_file: Path,
        changed: Callable[[dict[str, Any]], None],
        *,
        inherited: Sequence[int] = (),
        shares: bool = False,
    ) -> None:
        """`inherited` are descriptors that the process needs: the place of a password."""
        super().__init__(status_file, changed, shares=shares)
        self._command = command
        self._environ = environ
        self._inherited = tuple(inherited)
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Run the process and read it until it dies; on cancellation it is left to `stop`."""
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            env=dict(self._environ),
            pass_fds=self._inherited,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # A Ctrl-C at the terminal is for the front, which ends the monitor when it is time.
            start_new_session=True,
            limit=4 * 1024 * 1024,
        )
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                self._death = None
                self.status = json.loads(line)
                self._changed(self.status)
            code = await process.wait()
            self._death = f"the monitor ended with exit code {code}; rows wait until it runs again"
            raise MonitorDied(f"the monitor process ended with {code}")
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._kill()
            raise

    def look(self) -> None:
        """A chunk was sealed."""
        self._say(LOOK)

    def look_elsewhere(self) -> None:
        """The git server called: the other replicas are to look, too."""
        self._say(REMOTE)

    def _say(self, word: bytes) -> None:
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            process.stdin.write(word + b"\n")

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def stop(self, deadline: float) -> None:
        """Let it publish what it can within `deadline` seconds, then end it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(deadline):
                assert process.stdout is not None
                while line := await process.stdout.readline():
                    self.status = json.loads(line)
                await process.wait()
        except TimeoutError:
            log.warning("the monitor did not finish in %s s: its chunks wait on disk", deadline)
            self._kill()
            await process.wait()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
