"""What a monitor said last, as the front tells it, wherever that monitor runs.

Knows nothing of segments or pushes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SILENT = "the monitor has said nothing yet"


class Said:
    """The newest document, and what is wrong with the process that says it."""

    def __init__(
        self, status_file: Path, changed: Callable[[dict[str, Any]], None], *, shares: bool = False
    ) -> None:
        """`shares` where the monitor shares with other replicas: it then says so, too."""
        self._status_file = status_file
        self._changed = changed
        self._shares = shares
        #: The newest document; from before this start until the monitor speaks.
        self.status: dict[str, Any] = {}
        self._death: str | None = None

    def remember(self) -> None:
        """Take over what the last monitor said."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._status_file.read_text())
            self.status = found if isinstance(found, dict) else {}

    def report(self) -> dict[str, Any]:
        """The newest document, with the process' id and what is wrong with the process itself."""
        return {
            **self.status,
            "pid": self.pid,
            "up": self._death is None,
            "trouble": self._death or self.status.get("trouble"),
            "experiments": {"trouble": self.experiments_trouble()},
            "shared": self._shared() if self._shares else None,
        }

    def experiments_trouble(self) -> str | None:
        """Why no experiment is counted and no guardrail watched just now."""
        said: str | None = (self.status.get("experiments") or {}).get("trouble")
        return self._death or said

    @property
    def pid(self) -> int | None:
        """None where another process started it."""
        return None

    def _shared(self) -> dict[str, Any]:
        """What it says of the other replicas; a process that is no more shares nothing."""
        said: dict[str, Any] | None = self.status.get("shared")
        why_not = self._death or (_SILENT if said is None else None)
        return {**(said or {}), **({"role": "alone", "trouble": why_not} if why_not else {})}
