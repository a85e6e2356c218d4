"""The monitor as the front sees it where it is no child: `gateway monitor`, started by others.

Follows what it says by its file, and whether it is there by its ear. It is never started or ended
from here, so that either process may be restarted without the other.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.monitoring.ear import LOOK, REMOTE, say
from gateway.monitoring.said import Said

LOOK_EVERY = 0.5
_NOBODY = "no monitor runs beside this gateway (`gateway monitor FILE`); rows wait until one does"


class MonitorBeside(Said):
    """Reads the monitor's file when it changed, and speaks into its ear."""

    def __init__(
        self,
        status_file: Path,
        ear: Path,
        changed: Callable[[dict[str, Any]], None],
        *,
        shares: bool = False,
    ) -> None:
        super().__init__(status_file, changed, shares=shares)
        self._ear = ear
        self._mark: tuple[int, int, int] | None = None

    async def run(self) -> None:
        """The keeper's body."""
        while True:
            found, trouble = await asyncio.to_thread(self._look)
            self._death = trouble
            if found is not None:
                self.status = found
                self._changed(found)
            await asyncio.sleep(LOOK_EVERY)

    def look(self) -> None:
        """A chunk was sealed."""
        say(self._ear, LOOK)

    def look_elsewhere(self) -> None:
        """The git server called: the other replicas are to look, too."""
        say(self._ear, REMOTE)

    async def stop(self, deadline: float) -> None:
        """It goes on: what this front wrote last is published without it."""

    def _look(self) -> tuple[dict[str, Any] | None, str | None]:
        """What it says if that is new, and what is wrong."""
        trouble = None if say(self._ear) else _NOBODY
        try:
            with self._status_file.open("rb") as file:
                stat = os.fstat(file.fileno())
                mark = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                if mark == self._mark:
                    return None, trouble
                found = json.loads(file.read())
            if not isinstance(found, dict):
                raise ValueError("it is no document")
        except FileNotFoundError:
            return None, trouble
        except (OSError, ValueError) as error:
            return None, f"what the monitor says in {self._status_file} cannot be read: {error}"
        self._mark = mark
        return found, trouble
