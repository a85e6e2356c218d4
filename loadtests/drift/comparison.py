"""One shifted data set, judged by the gateway, by Evidently and by NannyML.

The peers run with their defaults in environments of their own; one that does not install is
missing, with the reason.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer

from gateway.statistics.drift import Rules, of_reference
from gateway.statistics.profiler import reference_columns
from gateway.statistics.reference import Profile
from gateway.statistics.verdict import ColumnDrift
from gateway.statistics.window import Bins, Window
from loadtests.bench.places import Missing, installed, run

HERE = Path(__file__).parent
PEERS = ("evidently", "nannyml")
SIZES = (200, 5_000)
_REFERENCE = 426
_SEED = 20

#: What is done to a column.
SHIFTED: Mapping[str, str] = {
    "mean radius": "mean +0.3 sd",
    "mean texture": "mean +1 sd",
    "mean perimeter": "spread x1.5",
    "mean area": "5 % missing",
    "mean smoothness": "one value of 1e6",
    "plan": "a new category, 10 %",
    "heavy": "none; lognormal, sigma 2",
}


@dataclass(frozen=True)
class Verdict:
    """`share` of its chunks alert; of what has no chunks, none or all. `said` in words, if any."""

    statistic: str
    share: float
    said: str = ""


@dataclass(frozen=True)
class Comparison:
    """Verdicts by judge and column for windows of one size, and why a judge is missing."""

    rows: int
    verdicts: dict[str, dict[str, Verdict]]
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


Columns = dict[str, list[Any]]


def reference_and_window(rows: int) -> tuple[Columns, Columns]:
    """A sample of the breast cancer data, and rows drawn anew from all of it, some shifted.

    From all of it, so that a column that is not shifted has no drift: the reference is a sample of
    the population from which the window is drawn.
    """
    data = load_breast_cancer()
    rng = np.random.default_rng([_SEED, rows])
    before = data.data[np.random.default_rng(_SEED).permutation(len(data.data))[:_REFERENCE]]
    after = data.data[rng.integers(len(data.data), size=rows)]
    names = [str(name) for name in data.feature_names]
    plans = np.array(["a", "b", "c", "d"])
    reference = {
        **{name: before[:, k].tolist() for k, name in enumerate(names)},
        "plan": plans[rng.choice(3, _REFERENCE, p=[0.5, 0.3, 0.2])].tolist(),
        "heavy": rng.lognormal(0, 2, _REFERENCE).tolist(),
    }
    window = {
        **{name: after[:, k] for k, name in enumerate(names)},
        "plan": plans[rng.choice(4, rows, p=[0.45, 0.27, 0.18, 0.1])],
        "heavy": rng.lognormal(0, 2, rows),
    }
    sd = {name: float(np.std(data.data[:, k])) for k, name in enumerate(names)}
    window["mean radius"] += 0.3 * sd["mean radius"]
    window["mean texture"] += sd["mean texture"]
    middle = window["mean perimeter"].mean()
    window["mean perimeter"] = middle + 1.5 * (window["mean perimeter"] - middle)
    window["mean smoothness"][0] = 1e6
    shifted: Columns = {name: values.tolist() for name, values in window.items()}
    for place in range(rows // 20):
        shifted["mean area"][place] = None
    return reference, shifted


def ours(reference: Columns, window: Columns) -> dict[str, Verdict]:
    """What the gateway would say of this window were it the second of its kind."""
    profile = Profile(_REFERENCE, reference_columns(reference)).identified()
    counted = Window(Bins(profile))
    rows = len(next(iter(window.values())))
    hashes = np.random.default_rng(_SEED).integers(2**64, size=rows, dtype=np.uint64)
    counted.add(rows, window, hashes.tolist(), "comparison")
    return {drift.column: _verdict(drift) for drift in of_reference(counted, Rules())}


def _verdict(drift: ColumnDrift) -> Verdict:
    p = "" if drift.p_tolerance is None else f", p {drift.p_tolerance:.2g}"
    psi = "" if drift.psi is None else f"PSI {drift.psi:.3g} ({drift.psi_null or 0:.2g} by chance)"
    said = f"{drift.severity}: {drift.reason}" if drift.reason else drift.severity
    return Verdict(f"{psi}{p}", float(drift.severity in ("alert", "critical")), said)


def compared(root: Path, say: Callable[[str], None]) -> list[Comparison]:
    """Both windows by every judge that is there."""
    places, missing, versions = {}, {}, {}
    for peer in PEERS:
        try:
            say(f"installing {peer}, if it is not there yet")
            places[peer] = installed(root, peer, HERE / "requirements" / f"{peer}.txt")
            asked: list[str | Path] = [places[peer].python, "-c", _SAY, peer]
            versions[peer] = run(asked, places[peer].folder).strip()
        except Missing as error:
            missing[peer] = str(error)
    found = []
    for rows in SIZES:
        reference, window = reference_and_window(rows)
        verdicts = {"gateway": ours(reference, window)}
        before, after = root / "reference.csv", root / f"window-{rows}.csv"
        _write(before, reference)
        _write(after, window)
        lacking = dict(missing)
        for peer, place in places.items():
            say(f"{peer} on {rows:,} rows")
            try:
                script = HERE / "peers" / f"{peer}_verdicts.py"
                told = json.loads(run([place.python, script, before, after], place.folder))
                verdicts[peer] = {name: Verdict(**one) for name, one in told.items()}
            except (Missing, ValueError, TypeError) as error:
                lacking[peer] = str(error)
        found.append(Comparison(rows, verdicts, lacking, versions))
    return found


_SAY = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"


def _write(path: Path, columns: Columns) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def false_alarm_share(verdicts: Mapping[str, Verdict]) -> float:
    """Of the columns that nothing was done to, how many fire; half of one where half its chunks."""
    quiet = [one.share for name, one in verdicts.items() if name not in SHIFTED or name == "heavy"]
    return math.fsum(quiet) / len(quiet) if quiet else 0.0
