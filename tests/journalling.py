"""A made-up gateway's life as its journal tells it, and what it adds up to, counted anew.

The counting here knows nothing of ledgers, batches or sets: it walks over the whole list of what
was written, as slowly as it likes.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.assignment import Split, epoch_of
from gateway.chunks import EpochRecord
from gateway.experiments.contrasts import contrasts_of
from gateway.experiments.metrics import Metric, built_in, events_of
from gateway.journal import Journal
from gateway.names import Branch, Fingerprint, RequestId, Unit
from gateway.timestamps import rfc3339

PROD, EXP, DEV = Branch("prod"), Branch("exp"), Branch("dev")
BEGUN = 1_764_000_000
KEY = b"k" * 16
METRICS = (
    Metric("conversion", "binary", "primary", window=20.0),
    Metric("revenue", "mean", window=30.0),
    Metric("accuracy", "ratio", window=10.0, missing="unknown"),
    built_in("error_rate"),
    built_in("latency_over_slo"),
    built_in("fallback_rate"),
    built_in("timeout_rate"),
)
WINDOWS = {metric.name: metric.window for metric in METRICS}


def fingerprint(digit: str) -> Fingerprint:
    return Fingerprint(digit * 32)


@dataclass
class World:
    """Writes the journal of one front, and remembers every line in its order."""

    folder: Path
    seed: int = 0
    now: float = BEGUN
    users: int = 60
    baseline: Branch = PROD
    weights: dict[Branch, float] = field(default_factory=lambda: {PROD: 50.0, EXP: 50.0})
    contents: dict[Branch, Fingerprint] = field(
        default_factory=lambda: {PROD: fingerprint("a"), EXP: fingerprint("b")}
    )

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.lines: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.begin("0a0b0c0d")

    def begin(self, writer: str) -> None:
        """A front starts; what another left open is sealed."""
        self.writer = writer
        self.journal = Journal(
            self.folder,
            writer,
            limit_bytes=1 << 30,
            header=lambda: {"sample_rows": "all", "features": "segments"},
        )
        self.journal.recover()

    @property
    def epoch(self) -> EpochRecord:
        arms = {str(arm): weight for arm, weight in self.weights.items() if weight > 0}
        epoch = epoch_of("s", self.weights, self.contents)
        contents: dict[str, str | None] = {arm: self.contents[Branch(arm)] for arm in arms}
        return EpochRecord(epoch, "s", arms, contents, baseline=self.baseline)

    def write(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        self.journal.append(text, line.get("rows", 0), rfc3339(self.now))

    def serve(self, broken: Branch | None = None, **changes: Any) -> dict[str, Any]:
        """A request of some user, answered as luck would have it, or well but by `broken`."""
        raw = f"user-{self.random.randrange(self.users)}"
        epoch = self.epoch
        arm = Split("s", self.weights).assign(raw)
        status = self.random.choices(
            ["ok", "error", "fallback_error", "timeout", "invalid", "fallback_overload"],
            [80, 4, 4, 4, 4, 4],
        )[0]
        latency = self.random.choice([1.0, 20.0, 700.0])
        if broken is not None:
            status, latency = "fallback_error" if arm == broken else "ok", 1.0
        if arm == PROD and status.startswith("fallback"):
            status = "overload"
        branch = PROD if status.startswith("fallback") else arm
        reason = self.random.choices(["split", "no_unit", "excluded"], [90, 6, 4])[0]
        reason = changes.get("reason", reason)
        rows = self.random.choice([1, 1, 2])
        identity = RequestId.build(round(self.now * 1000), self.random.getrandbits(74))
        known = epoch.__struct_fields__
        self.write({"t": "epoch", **{name: getattr(epoch, name) for name in known}})
        line = {
            "t": "request",
            "ts": rfc3339(self.now),
            "request_id": identity,
            "status": status,
            "latency_ms": latency,
            "rows": rows,
            "unit": Unit.keyed(raw, KEY) if reason != "no_unit" else None,
            "branch": branch,
            "commit": ("c" if branch == PROD else "d") * 40,
            "fingerprint": self.contents[branch],
            "assigned": arm,
            "reason": reason,
            "propensity": 0.5,
            "epoch": epoch.epoch,
            **changes,
        }
        if line["status"] == "ok" or line["status"].startswith("fallback"):
            line["predictions"] = [self.random.randrange(2) for _ in range(rows)]
        self.write(line)
        self.requests.append(line)
        return line

    def told(self, request_id: str, metric: str, row: int = 0, **what: Any) -> None:
        """An outcome reaches the front now."""
        sent = RequestId(request_id).milliseconds / 1000
        late = self.now - sent > WINDOWS[metric]
        line = {"t": "outcome", "ts": rfc3339(self.now), "request_id": request_id}
        self.write(line | {"metric": metric, "row": row, "late": late, **what})

    def feed_back(self) -> None:
        """An outcome of some request: in time or late, once or again, or of one nobody knows."""
        if not self.requests:
            return
        request = self.random.choice(self.requests[-40:])
        metric = self.random.choice(["conversion", "revenue", "accuracy"])
        identity = request["request_id"]
        if self.random.random() < 0.05:
            identity = RequestId.build(round(self.now * 1000), self.random.getrandbits(74))
        row = self.random.randrange(request["rows"] + self.random.choice([0, 0, 0, 1]))
        if metric == "accuracy" and self.random.random() < 0.8:
            self.told(identity, metric, row, label=str(self.random.randrange(2)))
        elif metric == "conversion":
            self.told(identity, metric, row, value=float(self.random.randrange(2)))
        else:
            self.told(identity, metric, row, value=self.random.randrange(1, 400) / 8)

    def live(self, seconds: float, each: float = 0.1) -> None:
        """Requests and outcomes for a while."""
        end = self.now + seconds
        while self.now < end:
            self.now = round(self.now + each, 3)
            self.serve()
            if self.random.random() < 0.6:
                self.feed_back()


class Sums:
    """One cell, counted anew."""

    def __init__(self) -> None:
        self.units = self.events = 0
        self.values: dict[int, float] = defaultdict(float)
        self.counts: dict[int, float] = defaultdict(float)

    def told(self) -> dict[str, Any]:
        """What is in it; empty if nothing is."""
        found: dict[str, Any] = {"units": self.units, "events": self.events}
        found["values"] = {bucket: value for bucket, value in self.values.items() if value}
        found["counts"] = {bucket: value for bucket, value in self.counts.items() if value}
        return found if any(found.values()) else {}


class Counting:
    """Walks over a list of the journal's lines."""

    def __init__(self, span: int) -> None:
        self.cells: dict[tuple[Any, ...], Sums] = defaultdict(Sums)
        self._span = span
        self._epochs: dict[str, EpochRecord] = {}
        self._requests: dict[str, dict[str, Any]] = {}
        #: Where each request was counted.
        self._places_of: dict[str, list[tuple[Any, ...]]] = {}
        self._seen: set[tuple[Any, ...]] = set()

    def _first(self, *what: Any) -> bool:
        is_first = what not in self._seen
        self._seen.add(what)
        return is_first

    def _places(self, line: dict[str, Any]) -> list[tuple[Any, ...]]:
        moment = datetime.fromisoformat(line["ts"]).timestamp()
        return [
            (one.id, int(moment) // self._span * self._span, line["epoch"], line["assigned"])
            for one in contrasts_of(self._epochs[line["epoch"]])
            if line["assigned"] in (one.baseline, one.candidate)
        ]

    def add(self, line: dict[str, Any]) -> None:
        if line["t"] == "epoch":
            fields = {name: value for name, value in line.items() if name != "t"}
            self._epochs[line["epoch"]] = EpochRecord(**fields)
        elif line["t"] == "request":
            self._requests[line["request_id"]] = line
            self._places_of[line["request_id"]] = self._places(line)
            if line["reason"] == "split":
                self._expose(line)
        elif line["t"] == "outcome" and self._first(
            "outcome", line["request_id"], line["row"], line["metric"]
        ):
            self._join(line)

    def _expose(self, line: dict[str, Any]) -> None:
        unit, bucket = line["unit"], int(line["unit"][:2], 16)
        for contrast, start, epoch, arm in self._places_of[line["request_id"]]:
            cell = self.cells[contrast, start, epoch, arm, "exposure"]
            cell.values[bucket] += line["rows"]
            cell.events += self._first("contrast", contrast, unit)
            if self._first("epoch", contrast, epoch, unit):
                cell.units += 1
                cell.counts[bucket] += 1
            for event in events_of(line["status"], line["latency_ms"], 0.5):
                mine = self.cells[contrast, start, epoch, arm, event]
                mine.events += self._first("event", contrast, event, unit)
                if self._first("event", contrast, event, epoch, unit):
                    mine.units += 1
                    mine.values[bucket] += 1

    def _join(self, line: dict[str, Any]) -> None:
        request = self._requests.get(line["request_id"])
        if line["late"] or request is None or line["row"] >= request["rows"]:
            return
        value: float = line.get("value", 0.0)
        if "label" in line and "predictions" not in request:
            return
        if "label" in line:
            value = float(request["predictions"][line["row"]] == json.loads(line["label"]))
        if request["reason"] == "split" and (value or line["metric"] != "conversion"):
            self._credit(line["metric"], request, value)

    def _credit(self, metric: str, request: dict[str, Any], value: float) -> None:
        unit, bucket = request["unit"], int(request["unit"][:2], 16)
        for contrast, start, epoch, arm in self._places_of[request["request_id"]]:
            cell = self.cells[contrast, start, epoch, arm, metric]
            cell.events += self._first("event", contrast, metric, unit)
            is_first = self._first("event", contrast, metric, epoch, unit)
            cell.units += is_first
            cell.values[bucket] += is_first if metric == "conversion" else value
            cell.counts[bucket] += metric == "accuracy"


def counted_anew(lines: list[dict[str, Any]], span: int) -> dict[tuple[Any, ...], dict[str, Any]]:
    """By (contrast, start, epoch, arm, metric), what the journal's lines add up to."""
    counting = Counting(span)
    for line in lines:
        counting.add(line)
    return {key: told for key, sums in counting.cells.items() if (told := sums.told())}
