"""The experiment once more, from the log of those who lived it; nothing of the gateway is imported.

Written from STATISTICS §2.2 and §6 and DESIGN §5, with hashlib and numpy alone, so that it shares
no mistake with the read-out that it checks. The formulas are in `experiment_formulas`.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
from experiment_formulas import best_ratio, effect, log_dirichlet, log_e, ratio_ends

BUCKETS = 256
METRICS = ("conversion", "accuracy", "spent")
Arms = tuple[str, str]
#: Where a request belongs: look, epoch, arm.
Place = tuple[int, int, int]


@dataclass(frozen=True)
class Exposure:
    """A request that was answered, or that was recorded though its answer was lost."""

    request_id: str
    unit: str
    epoch: int
    arm: str
    rows: int
    predictions: list[Any]
    #: When its row was written, Unix time.
    ts: float

    @property
    def bucket(self) -> int:
        return int(self.unit[:2], 16)


@dataclass
class Told:
    """The log, sorted out."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    exposures: list[Exposure] = field(default_factory=list)
    #: The first of each request, row and metric, in the order in which they were taken.
    outcomes: dict[tuple[str, int, str], dict[str, Any]] = field(default_factory=dict)
    #: Request and metric of those that came again, and of those that came too late.
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    late: list[tuple[str, str]] = field(default_factory=list)
    #: Outcomes of requests that nobody made.
    unknown: int = 0
    #: Requests that are no user's: of robots, and without a unit.
    robots: int = 0
    nobodies: int = 0
    #: By epoch, units whose answer was lost.
    lost: list[tuple[int, str]] = field(default_factory=list)


def hashed(unit: str, key: bytes) -> str:
    return blake2b(unit.encode(), key=key, digest_size=8).hexdigest()


def arm_of(unit: str, salt: str, weights: Mapping[str, float]) -> str:
    """argmax of weight / -ln u."""

    def score(arm: str) -> float:
        digest = blake2b(f"{salt}\x1f{arm}\x1f{unit}".encode(), digest_size=8).digest()
        return weights[arm] / -math.log(((int.from_bytes(digest, "big") >> 11) + 0.5) / 2**53)

    return max((arm for arm in weights if weights[arm] > 0), key=score)


def epoch_id(epoch: Mapping[str, Any]) -> str:
    arms = {arm: float(weight) for arm, weight in epoch["weights"].items() if weight > 0}
    content = {
        "salt": epoch["salt"],
        "weights": arms,
        "fingerprints": {arm: epoch["fingerprints"][arm] for arm in arms},
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode()).hexdigest()[:12]


def told(log: Path, key: bytes, rows: Iterable[Mapping[str, str]], window: float) -> Told:
    """The log; of the pushed `rows` only their times, and those whose answers were lost."""
    found = Told()
    times: dict[str, float] = {}
    pushed: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        times[row["request_id"]] = _unix(row["ts"])
        pushed[row["request_id"]].append(row)
    answered: set[str] = set()
    for line in log.read_text().splitlines():
        said = json.loads(line)
        if said["t"] == "epoch":
            found.epochs.append(said)
        elif said["t"] == "asked":
            assert said["status"] == 200, said
            answered.add(said["answer"]["request_id"])
            _asked(found, said, key, times)
        elif said["t"] == "lost" and said["unit"] is not None and not said["robot"]:
            found.lost.append((len(found.epochs) - 1, said["unit"]))
        elif said["t"] == "told":
            _outcome(found, said, answered, window)
    _though_lost(found, [pushed[name] for name in pushed if name not in answered], key)
    return found


def _asked(found: Told, said: Mapping[str, Any], key: bytes, times: Mapping[str, float]) -> None:
    answer, epoch = said["answer"], found.epochs[-1]
    if said["robot"]:
        found.robots += 1
        return
    if said["unit"] is None:
        found.nobodies += 1
        return
    arm = arm_of(said["unit"], epoch["salt"], epoch["weights"])
    found.exposures.append(
        Exposure(
            answer["request_id"],
            hashed(said["unit"], key),
            len(found.epochs) - 1,
            arm,
            said["rows"],
            answer["predictions"],
            times[answer["request_id"]],
        )
    )


def _outcome(found: Told, said: Mapping[str, Any], answered: set[str], window: float) -> None:
    name = (said["request_id"], said.get("row", 0), said["metric"])
    made = int(said["request_id"].replace("-", "")[:12], 16) / 1000
    # Only the front knows when it looked; it must have been between these two.
    assert said["status"] in ("accepted", "late")
    assert said["status"] == "late" or said["sent"] - made <= window + 0.002, said
    assert said["status"] == "accepted" or said["answered"] - made > window - 0.002, said
    if said["status"] == "late":
        found.late.append((name[0], name[2]))
    elif name in found.outcomes:
        found.duplicates.append((name[0], name[2]))
    else:
        found.outcomes[name] = dict(said)
        found.unknown += said["request_id"] not in answered


def _though_lost(found: Told, requests: Sequence[Sequence[Mapping[str, str]]], key: bytes) -> None:
    """Recorded, and then the front was killed: as many at most as answers were lost."""
    lost = {(epoch, hashed(unit, key)): unit for epoch, unit in found.lost}
    ids = {epoch_id(epoch): number for number, epoch in enumerate(found.epochs)}
    for rows in requests:
        first = rows[0]
        if first["reason"] != "split":
            found.robots += first["reason"] == "excluded"
            found.nobodies += first["reason"] == "no_unit"
            continue
        epoch = ids[first["epoch"]]
        unit = lost[epoch, first["unit"]]
        arm = arm_of(unit, found.epochs[epoch]["salt"], found.epochs[epoch]["weights"])
        exposure = Exposure(
            first["request_id"], first["unit"], epoch, arm, len(rows), [], _unix(first["ts"])
        )
        found.exposures.append(exposure)


def _unix(text: str) -> float:
    """Of RFC 3339, UTC."""
    return float(np.datetime64(text.removesuffix("Z"), "ms").astype("int64")) / 1000


# Sums


class Grown:
    """Sums by look, epoch and arm: `units`, and 256 buckets of `values` and `counts`."""

    def __init__(self, looks: int, epochs: int) -> None:
        self.units = np.zeros((looks, epochs, 2))
        #: Units for the first time in any epoch.
        self.new = np.zeros((looks, epochs, 2))
        self.values = np.zeros((looks, epochs, 2, BUCKETS))
        self.counts = np.zeros((looks, epochs, 2, BUCKETS))
        self.outcomes = np.zeros(2)
        self._in_epoch: set[tuple[int, str]] = set()
        self._ever: set[str] = set()

    def meets(self, place: Place, unit: str) -> bool:
        """Count a unit that is new, to its epoch or to all; whether it is new to the epoch."""
        look, epoch, arm = place
        if unit not in self._ever:
            self._ever.add(unit)
            self.new[look, epoch, arm] += 1
        if (epoch, unit) in self._in_epoch:
            return False
        self._in_epoch.add((epoch, unit))
        self.units[look, epoch, arm] += 1
        return True

    def so_far(self) -> Grown:
        for name in ("units", "new", "values", "counts"):
            setattr(self, name, getattr(self, name).cumsum(axis=0))
        return self


@dataclass
class Contrast:
    """What the recomputation says of one: all that the read-out must say too."""

    fingerprints: Arms
    epochs: list[str]
    shares: list[float]
    exposure: Grown
    metrics: dict[str, Grown]
    #: Units that were seen in both arms.
    multiple: int
    #: Outcomes that came too late, and again, by metric.
    late: Counter[str]
    duplicates: Counter[str]

    def split_log_e(self) -> float:
        """(C), the largest of all looks."""
        return max(
            sum(log_dirichlet(at[k], w) for k, w in enumerate(self.shares) if at[k].sum())
            for at in self.exposure.new
        )

    def mean(self, metric: str, planned: int, alpha: float = 0.05) -> dict[str, Any]:
        """(A): of units, for a sum a unit; of rows, for accuracy."""
        grown, exposed = self.metrics[metric], self.exposure
        by_row = metric == "accuracy"
        looks = [
            effect(
                (grown if by_row else exposed).units[k],
                grown.values[k],
                (grown if by_row else exposed).counts[k],
                planned,
                alpha,
                binary=metric == "conversion",
            )
            for k in range(len(grown.units))
        ]
        said = [one for one in looks if one is not None]
        last = looks[-1] or {}
        return {**last, "largest_log_e": max((one["log_e"] for one in said), default=None)}

    def rates(self, metric: str, alpha: float = 0.05) -> dict[str, Any]:
        """(B)."""
        grown = self.metrics[metric].new
        evidence = [log_e(at, self.shares, 0.0) for at in grown if at.sum()]
        low, high = ratio_ends(grown[-1], self.shares, alpha)
        return {
            "ratio": math.exp(best_ratio(grown[-1], self.shares)),
            "low": low,
            "high": high,
            "largest_log_e": max(evidence),
        }


def contrasts(found: Told, span: float) -> list[Contrast]:
    """Each pair of contents, over the epochs in which it was served."""
    of: dict[Arms, list[int]] = defaultdict(list)
    names: Arms = ("", "")
    for number, epoch in enumerate(found.epochs):
        (candidate,) = [name for name in epoch["weights"] if name != epoch["baseline"]]
        names = (epoch["baseline"], candidate)
        prints = epoch["fingerprints"]
        of[prints[names[0]], prints[candidate]].append(number)
    return [_added_up(found, pair, numbers, names, span) for pair, numbers in of.items()]


def _added_up(
    found: Told, pair: Arms, numbers: Sequence[int], names: Arms, span: float
) -> Contrast:
    mine = sorted((e for e in found.exposures if e.epoch in numbers), key=lambda e: e.ts)
    spans = sorted({math.floor(e.ts / span) for e in mine})
    at: dict[str, tuple[Place, Exposure]] = {}
    for e in mine:
        look = spans.index(math.floor(e.ts / span))
        at[e.request_id] = ((look, numbers.index(e.epoch), names.index(e.arm)), e)
    exposure = Grown(len(spans), len(numbers))
    for place, e in at.values():
        exposure.values[(*place, e.bucket)] += e.rows
        if exposure.meets(place, e.unit):
            exposure.counts[(*place, e.bucket)] += 1
    metrics = {name: Grown(len(spans), len(numbers)) for name in METRICS}
    for (request, row, metric), said in found.outcomes.items():
        if request in at:
            _credit(metrics[metric], *at[request], metric, row, said)
    shares = []
    for number in numbers:
        weights = found.epochs[number]["weights"]
        shares.append(weights[names[1]] / (weights[names[0]] + weights[names[1]]))
    ids = [epoch_id(found.epochs[number]) for number in numbers]
    done = {name: grown.so_far() for name, grown in metrics.items()}
    arms = [{e.unit for e in mine if e.arm == name} for name in names]
    multiple = len(arms[0] & arms[1])
    late, again = (
        Counter(metric for request, metric in each if request in at)
        for each in (found.late, found.duplicates)
    )
    return Contrast(pair, ids, shares, exposure.so_far(), done, multiple, late, again)


def _credit(
    grown: Grown, place: Place, e: Exposure, metric: str, row: int, said: Mapping[str, Any]
) -> None:
    """One outcome, where its request belongs."""
    grown.outcomes[place[2]] += 1
    where = (*place, e.bucket)
    if metric == "conversion":
        # Has the unit had it?
        if said["value"] and grown.meets(place, e.unit):
            grown.values[where] += 1
        return
    if metric == "accuracy":
        grown.counts[where] += 1
        grown.values[where] += said["label"] == e.predictions[row]
    else:
        grown.values[where] += round(said["value"] * 2**20) / 2**20
    grown.meets(place, e.unit)
