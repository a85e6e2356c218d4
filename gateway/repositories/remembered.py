"""state_dir/branches.json: what each branch last served well, remembered across restarts.

Losing the file costs a little work at the next start and nothing else.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway.names import Branch, Commit, Fingerprint


@dataclass(frozen=True, slots=True)
class LastGood:
    """The tip a branch was last delivered at, under which `model` setting, and its provenance."""

    tip: Commit
    commit: Commit
    commit_known: bool
    fingerprint: Fingerprint
    model: str | None


class Remembered:
    """The file's content, kept in step with it. Thread-safe; `load` comes first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[Branch, LastGood] = {}
        self._guard = threading.Lock()

    def load(self) -> None:
        """Read the file; one that is absent or unreadable is as good as empty."""
        try:
            document = json.loads(self._path.read_bytes())
            found = {Branch(name): _parse(entry) for name, entry in document["branches"].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            found = {}
        with self._guard:
            self._found = found

    def get(self, branch: Branch) -> LastGood | None:
        with self._guard:
            return self._found.get(branch)

    def put(self, branch: Branch, last: LastGood) -> None:
        """Remember, durably; the file is replaced whole."""
        with self._guard:
            if self._found.get(branch) == last:
                return
            self._found[branch] = last
            document = {"branches": {name: asdict(entry) for name, entry in self._found.items()}}
            beside = self._path.with_name(f".{self._path.name}")
            with beside.open("w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)


def _parse(entry: dict[str, Any]) -> LastGood:
    model = entry["model"]
    return LastGood(
        tip=Commit(entry["tip"]),
        commit=Commit(entry["commit"]),
        commit_known=entry["commit_known"] is True,
        fingerprint=Fingerprint(entry["fingerprint"]),
        model=model if model is None else str(model),
    )
