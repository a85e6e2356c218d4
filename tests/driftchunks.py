"""Chunks with drifting rows, and the references they drift from, for tests of drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from chunkfiles import COMMIT, EPOCH, FINGERPRINT, WRITER, header, request, schema, write

from gateway.statistics.profiler import reference_columns
from gateway.statistics.reference import Profile, encode_profile

#: 2026-11-23T10:00:00Z, when an hour begins.
TEN = datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()
NAMES = ("age", "income")


def at(seconds: float) -> str:
    """The time so many seconds after ten, as records say it."""
    return datetime.fromtimestamp(TEN + seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def profile(
    columns: Mapping[str, Sequence[Any]] | None = None, *, rows: int = 2000, **more: Any
) -> Profile:
    """Of these values; of standard normal ones if left out."""
    if columns is None:
        values = np.random.default_rng(5).normal(size=(rows, len(NAMES)))
        columns = {name: values[:, place].tolist() for place, name in enumerate(NAMES)}
    n = len(next(iter(columns.values())))
    return Profile(n=n, columns=reference_columns(columns), **more).identified()


def bring_reference(
    state: Path, found: Profile | bytes | None, fingerprint: str = FINGERPRINT
) -> None:
    """A snapshot as the front makes it, with this metrics/reference.json or with none."""
    folder = state / "snapshots" / fingerprint / "metrics"
    folder.mkdir(parents=True)
    if found is not None:
        data = found if isinstance(found, bytes) else encode_profile(found)
        (folder / "reference.json").write_bytes(data)


def epoch(*arms: str, name: str = EPOCH, fingerprint: str = FINGERPRINT) -> dict[str, Any]:
    return {
        "t": "epoch",
        "epoch": name,
        "salt": "s",
        "weights": dict.fromkeys(arms, 50.0),
        "fingerprints": dict.fromkeys(arms, fingerprint),
    }


class Traffic:
    """Rows of standard normal values, or shifted ones, in chunks one after another."""

    def __init__(self, journal: Path, *, seed: int = 1, writer: str = WRITER) -> None:
        self.journal = journal
        self.chunks = 0
        self.requests = 0
        self._rng = np.random.default_rng(seed)
        self._writer = writer

    def chunk(
        self,
        start: float,
        rows: int,
        *,
        over: float = 600.0,
        branches: Sequence[str] = ("prod",),
        shift: Mapping[str, Sequence[float]] | None = None,
        suffix: str = ".jsonl",
        names: Sequence[str] = NAMES,
        fields: Mapping[str, Any] | None = None,
        **head: Any,
    ) -> Path:
        """`rows` rows within `over` seconds from `start`, seconds after ten; `shift` by branch."""
        self.chunks += 1
        first = header(self.chunks, writer=self._writer, opened=at(start), **head)
        lines: list[Any] = [first, schema(list(names), [0, 1]), epoch(*branches)]
        for row in range(rows):
            branch = branches[row % len(branches)]
            self.requests += 1
            values = self._rng.normal(size=len(names)) + np.array((shift or {}).get(branch, 0.0))
            lines.append(
                request(
                    self.requests,
                    branch,
                    **{
                        "ts": at(start + row * over / rows),
                        "commit": COMMIT,
                        "unit": f"{self._rng.integers(2**63):016x}",
                        "instances": [values.tolist()],
                        "predictions": [int(values[0] > 0)],
                        "probabilities": [[0.4, 0.6]],
                        **(fields or {}),
                    },
                )
            )
        return write(self.journal, lines, suffix=suffix)
