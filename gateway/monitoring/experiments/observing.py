"""What there is to decide by, gathered: counts, settings, what is served, and how it drifts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gateway.experiments.document import ContrastReadout
from gateway.experiments.facts import (
    Adaptive,
    ArmCounts,
    Candidate,
    Command,
    Facts,
    Ramp,
)
from gateway.experiments.memory import Memory
from gateway.monitoring.drift.keeper import report_path
from gateway.monitoring.experiments.book import Book
from gateway.monitoring.experiments.known import KnownContrast
from gateway.monitoring.monitor_settings import ArmSettings, MonitorSettings
from gateway.names import Branch

#: What the front writes down of what it serves.
SERVED_FILE = "served.json"
#: Shares that differ by less are the same: they are quotients of floats.
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Serving:
    """What a branch serves, as the front wrote it down."""

    fingerprint: str
    commit: str
    tip: str = ""


_NOTHING = Serving("", "")


def serving_in(state_dir: Path) -> dict[Branch, Serving]:
    """By branch; nothing where the file is not there or none."""
    try:
        found = json.loads((state_dir / SERVED_FILE).read_text())
        return {
            Branch(name): Serving(one["fingerprint"], one["commit"], one.get("tip", ""))
            for name, one in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def is_served(known: KnownContrast, serving: Mapping[Branch, Serving]) -> bool:
    """Are both contents of a contrast the ones that are served now?"""
    return all(
        serving.get(Branch(branch), _NOTHING).fingerprint == fingerprint
        for branch, fingerprint in (
            (known.baseline, known.baseline_fingerprint),
            (known.candidate, known.candidate_fingerprint),
        )
    )


def facts_of(
    book: Book,
    settings: MonitorSettings,
    memory: Memory,
    current: Sequence[ContrastReadout],
    serving: Mapping[Branch, Serving],
    commands: tuple[Command, ...],
    now: float,
) -> Facts:
    """Everything that `steer` is given. `current` are the read-outs of what is served now."""
    baseline = settings.baseline or Branch("none")
    mine = serving.get(baseline, _NOTHING)
    arms = settings.experiment.branches
    weight = arms[baseline].weight if baseline in arms else 0.0
    return Facts(
        now=now,
        baseline=baseline,
        candidates=tuple(
            _candidate(book, settings, Branch(name), said, current, serving, memory)
            for name, said in arms.items()
            if name != baseline and not said.shadow
        ),
        baseline_fingerprint=mine.fingerprint,
        baseline_commit=mine.commit,
        baseline_weight=weight,
        epoch=book.state.epoch or "",
        commands=commands,
        adaptive=_adaptive(settings, current, baseline),
    )


def _candidate(
    book: Book,
    settings: MonitorSettings,
    branch: Branch,
    said: ArmSettings,
    current: Sequence[ContrastReadout],
    serving: Mapping[Branch, Serving],
    memory: Memory,
) -> Candidate:
    found = said.ramp
    ramp = Ramp(found.steps, found.dwell, found.min_units) if found is not None else None
    readout = next((one for one in current if one.candidate == branch), None)
    drift, split = _drift(settings.state_dir, branch)
    mine = serving.get(branch, _NOTHING)
    known = book.known.contrasts.get(readout.contrast) if readout is not None else None
    return Candidate(
        branch=branch,
        configured=said.configured,
        weight=said.weight,
        fingerprint=mine.fingerprint,
        commit=mine.commit,
        ramp=ramp,
        readout=readout,
        drift=drift,
        split_drift=split,
        units=_units(book, readout, branch, ramp, memory),
        last_exposure=known.asked.get(branch) if known is not None else None,
    )


def _units(
    book: Book,
    readout: ContrastReadout | None,
    candidate: Branch,
    ramp: Ramp | None,
    memory: Memory,
) -> int:
    """Those assigned to a candidate in the present step of its ramp.

    That is in the epochs that began since the step was decided on, and in the present one, where
    the front dealt by the step before that.
    """
    known = memory.branches.get(candidate)
    climb = known.ramp if known is not None else None
    if readout is None or ramp is None or climb is None:
        return 0
    share = ramp.steps[min(climb.step, len(ramp.steps) - 1)] / 100
    return sum(
        book.units[readout.contrast, epoch, candidate]
        for epoch, moment in book.known.contrasts[readout.contrast].begun.items()
        if moment >= climb.since
        or (epoch == book.state.epoch and _deals(book, epoch, candidate, share))
    )


def _deals(book: Book, epoch: str, candidate: Branch, share: float) -> bool:
    """Has the candidate that share of all users in the epoch?"""
    weights = book.known.epochs[epoch].weights
    return abs(weights.get(candidate, 0.0) / sum(weights.values()) - share) < _SAME


def _drift(state_dir: Path, branch: Branch) -> tuple[Literal["alert", "critical"] | None, bool]:
    """The verdict that drift's keeper wrote down last, and whether the split looks broken."""
    try:
        report = json.loads(report_path(state_dir, branch).read_bytes())
        columns: list[dict[str, Any]] = (report.get("between") or {}).get("columns", [])
        split = any(
            one["reason"].split(";")[0] == "split" and one["severity"] in ("alert", "critical")
            for one in columns
        )
        severity = report.get("severity")
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None, False
    return (severity if severity in ("alert", "critical") else None), split


def _adaptive(
    settings: MonitorSettings, current: Sequence[ContrastReadout], baseline: Branch
) -> Adaptive | None:
    """The primary metric's mature units and events; of the baseline as beside the first arm."""
    said = settings.experiment
    metric = next((one for one in said.metrics if one.role == "primary"), None)
    if not said.adaptive or metric is None or metric.kind != "binary":
        return None
    arms: dict[Branch, ArmCounts] = {}
    for readout in current:
        found = next((one for one in readout.metrics if one.name == metric.name), None)
        if found is not None:
            mine, other = found.candidate, found.baseline
            arms[Branch(readout.candidate)] = ArmCounts(mine.units, mine.events)
            arms.setdefault(baseline, ArmCounts(other.units, other.events))
    return Adaptive(metric.name, metric.direction, arms)
