"""The model alone in a loop: calls a second of one row and of 64, and the memory of a bare process.

`python model_alone.py MODEL SECONDS` prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import joblib
from sklearn.datasets import load_breast_cancer


def rate(model: Any, rows: Any, seconds: float) -> float:
    model.predict_proba(rows)
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        model.predict_proba(rows)
        calls += 1
    return calls / spent


def peak() -> int:
    """The most bytes that were ever resident, as the servers' processes are measured."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(value) * 1024


def main(path: str, seconds: float) -> None:
    model = joblib.load(path)
    data = load_breast_cancer().data
    model.predict_proba(data[:1])
    loaded = peak()
    figures = {"one": rate(model, data[:1], seconds), "many": rate(model, data[:64], seconds)}
    print(json.dumps({**figures, "peak": loaded}))  # noqa: T201 - this line is its answer


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
