"""Chunk files as the front writes them, for tests that need no front."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WRITER = "a1b2c3d4"
OPENED = "2026-11-23T10:00:00.123Z"
COMMIT = "c" * 40
FINGERPRINT = "f" * 32
EPOCH = "e0e0e0e0e0e0"


def request_id(number: int) -> str:
    return f"019aaaaa-0000-7000-8000-{number:012x}"


def header(chunk: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "t": "chunk",
        "v": 1,
        "writer": WRITER,
        "chunk": chunk,
        "opened": OPENED,
        "sample_rows": "all",
        "features": "segments",
        "redact": [],
        "target": "branch",
        **changes,
    }


def schema(columns: list[str] | None = None, classes: list[Any] | None = None) -> dict[str, Any]:
    return {"t": "schema", "fingerprint": FINGERPRINT, "columns": columns, "classes": classes}


def epoch() -> dict[str, Any]:
    described = {"weights": {"prod": 90.0}, "fingerprints": {"prod": FINGERPRINT, "dev": None}}
    return {"t": "epoch", "epoch": EPOCH, "salt": "s", **described}


def request(number: int, branch: str = "prod", **changes: Any) -> dict[str, Any]:
    """An answered request of one row; None leaves a field out."""
    fields = {
        "t": "request",
        "ts": OPENED,
        "request_id": request_id(number),
        "branch": branch,
        "commit": COMMIT,
        "fingerprint": FINGERPRINT,
        "assigned": branch,
        "reason": "split",
        "unit": "ab0123456789cdef",
        "propensity": 0.9,
        "epoch": EPOCH,
        "status": "ok",
        "latency_ms": 1.25,
        "rows": 1,
        "predictions": [1],
        "probabilities": [[0.25, 0.75]],
        "instances": [[1.5, "x"]],
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None or name == "unit"}


def decision(branch: str = "prod", **changes: Any) -> dict[str, Any]:
    fields = {"decision": "serving", "reason": "loaded", "evidence": {"seconds": 1.5}}
    return {"t": "decision", "ts": OPENED, "branch": branch, "commit": COMMIT, **fields, **changes}


def log_line(branch: str = "prod", **changes: Any) -> dict[str, Any]:
    fields = {"level": "warning", "logger": "model", "message": "careful"}
    return {"t": "log", "ts": OPENED, "branch": branch, "commit": COMMIT, **fields, **changes}


def write(
    journal: Path, lines: Iterable[dict[str, Any] | bytes], *, suffix: str = ".jsonl"
) -> Path:
    """A chunk at its place below `journal`, appearing at once; bytes go in as they are."""
    written = list(lines)
    first = written[0]
    assert isinstance(first, dict)
    path = journal / str(first["writer"]) / f"{first['chunk']:08}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_bytes(
        b"".join(
            line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
            for line in written
        )
    )
    beside.rename(path)
    return path
