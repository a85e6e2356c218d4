"""What became of a request's outcomes, read beside whoever writes the store."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Self

from gateway.experiments.feedback import OutcomeState
from gateway.store.ledger import LATE, KeptOutcome, Ledger
from gateway.timestamps import rfc3339


class _Reader(Ledger):
    """The same file, read only, beside the one that writes it."""

    def __enter__(self) -> Self:
        with self._translated():
            self._db = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=5.0)
        return self

    @property
    def is_new(self) -> bool:
        """It has no outcomes' table yet."""
        return self._row("SELECT 1 FROM sqlite_master WHERE name = 'outcome'") is None


def outcomes_in(path: Path, request_id: str) -> list[OutcomeState]:
    """What is known of a request's outcomes, read beside whoever writes the store at `path`.

    Empty where there is no store yet. Raises StateError if it cannot be read.
    """
    if not path.exists():
        return []
    with _Reader(path.absolute()) as reader:
        found = [] if reader.is_new else reader.outcomes(request_id)
    return [_state(one) for one in found]


def _state(one: KeptOutcome) -> OutcomeState:
    is_late = one.branch == LATE
    return OutcomeState(
        one.row,
        one.metric,
        "late" if is_late else one.status,
        rfc3339(one.ts / 1000),
        one.value,
        "" if is_late else one.branch,
        duplicates=one.duplicates,
    )
