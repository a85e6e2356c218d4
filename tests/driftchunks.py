"""Chunks with drifting rows, and the references they drift from, for tests of drift."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from chunkfiles import COMMIT, EPOCH, FINGERPRINT, WRITER, header, request, schema, write

from gateway.chunks import ChunkFile, ChunkKey
from gateway.errors import ContentError
from gateway.monitoring.drift.files import BranchFiles
from gateway.monitoring.drift.keeper import Drift, report_path
from gateway.monitoring.monitor_settings import DriftSettings, Monitoring, MonitorSettings
from gateway.names import Branch, Commit
from gateway.repositories.credentials import Credentials
from gateway.statistics.profiler import reference_columns
from gateway.statistics.reference import Profile, encode_profile
from gateway.store.sqlite import SqliteStore

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


def settings_of(
    state: Path, *branches: str, drift: Mapping[str, Any] | None = None, **monitoring: Any
) -> MonitorSettings:
    """What the front says; the first branch is the baseline."""
    said = {"flush": 0.05, "retention": 1e9, "journal_bytes": 2**30, **monitoring}
    names = tuple(map(Branch, branches or ("prod",)))
    return MonitorSettings(
        "",
        state,
        Monitoring(**said),
        names,
        Credentials(),
        "stamp",
        names[0],
        DriftSettings(**drift or {}),
    )


class NoFiles:
    """A repository in which there is nothing; `refusal` is raised instead, if it is set."""

    def __init__(self) -> None:
        self.refusal: Exception = ContentError("nothing is there")
        self.asked: list[str] = []

    def identity(self, branch: Branch, tip: Commit, path: str) -> str:
        self.asked.append(path)
        raise self.refusal

    def write(
        self, branch: Branch, tip: Commit, path: str, target: Path, most_bytes: int
    ) -> dict[str, Any]:
        self.asked.append(path)
        raise self.refusal


class Kept:
    """A keeper of drift over a real store, in this process; `restart` is what a crash leaves."""

    def __init__(
        self,
        state: Path,
        *branches: str,
        files: BranchFiles | None = None,
        drift: Mapping[str, Any] | None = None,
        **monitoring: Any,
    ) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.state = state
        self.now = 0.0
        self.files: BranchFiles = files or NoFiles()
        self.settings = settings_of(state, *branches, drift=drift, **monitoring)
        self.traffic = Traffic(state / "journal")
        self._opened: SqliteStore | None = None
        self.restart()

    def restart(self) -> None:
        if self._opened is not None:
            self._opened.__exit__()
        self._opened = self.store = SqliteStore(self.state / "store.sqlite").__enter__()
        self.drift = Drift(self.settings, self.store, self.files, lambda: self.now)

    def take(self, path: Path, every: int = 1) -> None:
        key = ChunkKey(path.parent.name, int(path.stem))
        self.drift.take(ChunkFile(key, path, path.stat().st_size), self.settings, every)

    def chunk(self, start: float, rows: int, **more: Any) -> None:
        """A chunk of traffic, taken."""
        self.take(self.traffic.chunk(start, rows, **more))

    def close(self, seconds: float = 1e6) -> None:
        """All windows that end so many seconds after ten."""
        self.drift.close(TEN + seconds, self.settings)

    def report(self, branch: str = "prod") -> dict[str, Any]:
        self.drift.show(self.settings)
        found: dict[str, Any] = json.loads(
            report_path(self.state, Branch(branch)).read_text(encoding="utf-8")
        )
        return found

    def status(self) -> dict[str, Any]:
        return self.drift.status(self.settings, 0)

    def written(self, kind: str = "drift") -> list[dict[str, str]]:
        """Rows for git, in the order of the segments' numbers."""
        rows: list[dict[str, str]] = []
        for one in self.store.outgoing():
            for segment in self.store.segments(one.key, one.branch):
                if segment.kind == kind and segment.path == one.path:
                    rows += csv.DictReader(io.StringIO(segment.content.decode()))
        return rows

    def bytes_on_disk(self) -> bytes:
        """All that is kept of drift, wherever."""
        places = [*self.state.glob("store.sqlite*"), *self.state.glob("drift/*")]
        places += self.state.glob("reference*")
        return b"".join(path.read_bytes() for path in places)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._opened is not None:
            self._opened.__exit__()
