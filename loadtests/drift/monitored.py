"""What a row costs the monitor: a chunk of single-row requests becomes segments and windows."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gateway.chunks import Chunk, ChunkFile, ChunkKey
from gateway.errors import ContentError
from gateway.monitoring.drift.keeper import Drift
from gateway.monitoring.monitor_settings import Monitoring, MonitorSettings
from gateway.monitoring.segments import contents_of
from gateway.names import Branch, Commit
from gateway.repositories.credentials import Credentials
from gateway.statistics.profiler import reference_columns
from gateway.statistics.reference import Profile, encode_profile
from gateway.store.sqlite import SqliteStore
from loadtests.drift.throughput import COLUMNS, Line, values

_WRITER, _FINGERPRINT, _EPOCH, _COMMIT = "a1b2c3d4", "f" * 32, "e0e0e0e0e0e0", "c" * 40
_OPENED = "2026-01-01T10:00:00.000Z"
_ROWS = {4: 20_000, 30: 20_000, 300: 4_000}
_ROUNDS = 3


class _NoFiles:
    """The reference lies in the snapshot: nothing is asked of a repository."""

    def identity(self, branch: Branch, tip: Commit, path: str) -> str:
        raise ContentError("nothing is there")

    def write(
        self, branch: Branch, tip: Commit, path: str, target: Path, most_bytes: int
    ) -> dict[str, Any]:
        raise ContentError("nothing is there")


def measured(say: Callable[[str], None]) -> Iterator[Line]:
    """Two branches in comparison, their windows and segments of 500 sampled rows; the best of 3."""
    for columns in COLUMNS:
        rows = _ROWS[columns]
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder)
            chunk = _chunk(state, columns, rows)
            drift = min(_taken(state / str(k), state, chunk) for k in range(_ROUNDS)) / rows * 1e6
            segments = min(_read(chunk) for _ in range(_ROUNDS)) / rows * 1e6
        both = drift + segments
        say(f"{columns} columns through the monitor: {both:.0f} µs a row")
        yield Line("monitor: drift", columns, 1, 1e6 / drift, drift)
        yield Line("monitor: segments", columns, 1, 1e6 / segments, segments)
        yield Line("monitor: both, on half a core", columns, 1, 5e5 / both, both)


def _chunk(state: Path, columns: int, rows: int) -> ChunkFile:
    reference = values(columns, 5_000, 1)
    metrics = state / "snapshots" / _FINGERPRINT / "metrics"
    metrics.mkdir(parents=True)
    profile = Profile(5_000, reference_columns(reference))
    (metrics / "reference.json").write_bytes(encode_profile(profile))
    path = state / "journal" / _WRITER / f"{1:08}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(_lines(list(reference), values(columns, rows, 2), rows)))
    return ChunkFile(ChunkKey(_WRITER, 1), path, path.stat().st_size)


def _lines(names: list[str], table: dict[str, list[Any]], rows: int) -> Iterator[bytes]:
    """As the front writes them."""
    arms = ("prod", "dev")
    head = {"v": 1, "writer": _WRITER, "chunk": 1, "opened": _OPENED}
    yield _line({"t": "chunk", **head, "sample_rows": 500, "features": "segments"})
    yield _line({"t": "schema", "fingerprint": _FINGERPRINT, "columns": names, "classes": [0, 1]})
    shares = {"weights": dict.fromkeys(arms, 50), "fingerprints": dict.fromkeys(arms, _FINGERPRINT)}
    yield _line({"t": "epoch", "epoch": _EPOCH, "salt": "bench", **shares})
    units = np.random.default_rng(3).integers(2**63, size=rows).tolist()
    for row, instance in enumerate(zip(*table.values(), strict=True)):
        branch = arms[row % 2]
        yield _line(
            {
                "t": "request",
                "ts": _OPENED,
                "request_id": f"019aaaaa-0000-7000-8000-{row:012x}",
                "status": "ok",
                "latency_ms": 1.25,
                "rows": 1,
                "unit": f"{units[row]:016x}",
                "branch": branch,
                "commit": _COMMIT,
                "fingerprint": _FINGERPRINT,
                "assigned": branch,
                "reason": "split",
                "propensity": 0.5,
                "epoch": _EPOCH,
                "predictions": [1],
                "probabilities": [[0.25, 0.75]],
                "instances": [instance],
            }
        )


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _taken(folder: Path, state: Path, chunk: ChunkFile) -> float:
    """CPU seconds until the chunk is in windows, and remembered."""
    folder.mkdir()
    monitoring = Monitoring(60.0, 1e9, 2**30)
    branches = (Branch("prod"), Branch("dev"))
    credentials = Credentials()
    settings = MonitorSettings("", state, monitoring, branches, credentials, "", branches[0])
    with SqliteStore(folder / "store.sqlite") as store:
        drift = Drift(settings, store, _NoFiles(), time.monotonic)
        begun = time.process_time()
        drift.take(chunk, settings)
        return time.process_time() - begun


def _read(chunk: ChunkFile) -> float:
    """CPU seconds until its segments are made."""
    begun = time.process_time()
    with Chunk(chunk.path) as reading:
        contents_of(reading)
    return time.process_time() - begun
