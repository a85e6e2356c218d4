"""Facts for `steer` as a monitor would find them, and a front that follows the orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from gateway.assignment import Split
from gateway.experiments.allocation import Orders, effective, in_force, parse_orders
from gateway.experiments.contrasts import Contrast
from gateway.experiments.document import (
    ArmFigures,
    Bounds,
    ContrastReadout,
    GuardrailReadout,
    MetricReadout,
    Ratio,
)
from gateway.experiments.facts import Adaptive, Candidate, Command, Decided, Facts, Ramp
from gateway.experiments.memory import Memory, decode, encode
from gateway.experiments.steering import steer
from gateway.names import Branch

PROD, EXP, DEV = Branch("prod"), Branch("exp"), Branch("dev")
HOUR = 3600.0
STEPS = Ramp((1.0, 5.0, 25.0), HOUR, 500)
THRESHOLD = 4.605
USERS = [f"user-{number}" for number in range(5_000)]


def guardrail(name: str = "error_rate", log_e: float | None = 0.0, **fields: Any) -> Any:
    """Breached from the threshold on, unless it is said otherwise."""
    breached = log_e is not None and log_e >= THRESHOLD
    figures = ArmFigures(units=1000, events=100)
    given = {"breached": breached, "baseline": figures, "candidate": figures, **fields}
    return GuardrailReadout(
        name=name, log_e=log_e, threshold=THRESHOLD, margin=0.0, reason=f"{name} says so", **given
    )


def metric(name: str = "error_rate", **fields: Any) -> MetricReadout:
    given: dict[str, Any] = {
        "role": "guardrail",
        "kind": "binary",
        "direction": "down",
        "margin": None,
        "status": "running",
        "reason": "",
        "method": "exact",
        **fields,
    }
    figures = ArmFigures(1000, 100)
    return MetricReadout(
        name=name, window=0.0, planned_units=10_000, baseline=figures, candidate=figures, **given
    )


def ratio(*, mismatch: bool) -> Ratio:
    return Ratio(mismatch, 9.0 if mismatch else 0.1, 4.6, 0.5, 900, 100, 0.1)


def bounded(high: float | None, low: float | None = -0.5) -> Bounds:
    return Bounds(0.0, low, high)


def readout(
    fingerprint: str,
    *guardrails: GuardrailReadout,
    metrics: tuple[MetricReadout, ...] = (),
    mismatch: bool = False,
    baseline: str = "p" * 32,
    branch: Branch = EXP,
    **fields: Any,
) -> ContrastReadout:
    return ContrastReadout(
        contrast=Contrast("s", PROD, baseline, branch, fingerprint).id,
        baseline=PROD,
        candidate=branch,
        baseline_fingerprint=baseline,
        candidate_fingerprint=fingerprint,
        baseline_commit="",
        candidate_commit="",
        **{"current": True, "shadow": False, "status": "running", "reason": "", **fields},
        since="",
        until="",
        guardrails=guardrails or (guardrail(),),
        metrics=metrics,
        sample_ratio=ratio(mismatch=mismatch),
    )


def ramped(**fields: Any) -> Candidate:
    """A candidate with a ramp, to which all is well, and of which enough is known."""
    fingerprint = fields.get("fingerprint", "a" * 32)
    given: dict[str, Any] = {
        "configured": "c1",
        "weight": 0.0,
        "fingerprint": fingerprint,
        "commit": "1" * 40,
        "ramp": STEPS,
        "readout": readout(fingerprint),
        "units": 500,
    }
    return Candidate(EXP, **{**given, **fields})


def weighted(branch: Branch = EXP, **fields: Any) -> Candidate:
    fingerprint = fields.get("fingerprint", "a" * 32)
    given: dict[str, Any] = {
        "configured": "c1",
        "weight": 10.0,
        "fingerprint": fingerprint,
        "commit": "1" * 40,
        "readout": readout(fingerprint, branch=branch),
    }
    return Candidate(branch, **{**given, **fields})


@dataclass
class House:
    """A monitor that steers, through its stored bytes, and a front that follows its file."""

    candidates: dict[Branch, Candidate]
    now: float = 1_000_000.0
    memory: bytes = field(default_factory=lambda: encode(Memory()))
    file: bytes = field(default_factory=lambda: msgspec.json.encode(Orders()))
    baseline_weight: float = 90.0
    baseline_fingerprint: str = "p" * 32
    adaptive: Adaptive | None = None
    epoch: str = "e"
    decisions: list[Decided] = field(default_factory=list)
    #: What the front serves, where that is not yet known to the monitor.
    serves: dict[Branch, str] = field(default_factory=dict)
    configured: dict[Branch, str] = field(default_factory=dict)

    def change(self, branch: Branch = EXP, **fields: Any) -> None:
        self.candidates[branch] = replace(self.candidates[branch], **fields)

    def turn(self, seconds: float = 0.5, *commands: Command) -> list[str]:
        """The decisions of a turn, so much later; requests come all the time unless told."""
        self.now += seconds
        seen = {
            name: replace(
                one, last_exposure=self.now if one.last_exposure is None else one.last_exposure
            )
            for name, one in self.candidates.items()
        }
        facts = Facts(
            self.now,
            PROD,
            tuple(seen.values()),
            baseline_fingerprint=self.baseline_fingerprint,
            baseline_weight=self.baseline_weight,
            epoch=self.epoch,
            commands=commands,
            adaptive=self.adaptive,
        )
        steered = steer(decode(self.memory), facts)
        self.memory = encode(steered.memory)
        self.file = msgspec.json.encode(Orders(branches=steered.orders))
        self.decisions += steered.decisions
        assert list(steered.taken) == [c for c in commands if c.branch in self.candidates]
        return [one.decision for one in steered.decisions]

    def say(self, action: Any, branch: Branch = EXP, **fields: Any) -> list[str]:
        return self.turn(0.5, Command("1", action, branch, self.now, **fields))

    @property
    def orders(self) -> Mapping[Branch, Any]:
        """Those in force in the front."""
        names = self.candidates
        configured = {
            name: self.configured.get(name, one.configured) for name, one in names.items()
        }
        serving = {name: self.serves.get(name, one.fingerprint) for name, one in names.items()}
        return in_force(parse_orders(self.file).branches, configured, serving)

    @property
    def split(self) -> Split:
        weights = {PROD: self.baseline_weight}
        weights |= {name: one.weight for name, one in self.candidates.items()}
        first = {n: one.ramp.steps[0] / 100 for n, one in self.candidates.items() if one.ramp}
        return Split("s", effective(weights, PROD, first, self.orders))

    def share(self, branch: Branch = EXP) -> float:
        return self.split.propensities[branch]

    def state(self, branch: Branch = EXP) -> str | None:
        order = self.orders.get(branch)
        return order.state if order is not None else None

    def stands(self) -> tuple[str | None, float]:
        """The state of the order for exp, and its percent of the users."""
        return self.state(), round(self.share() * 100, 6)

    def arms(self) -> dict[str, Branch]:
        """Who gets which branch, of all users."""
        split = self.split
        return {user: split.assign(user) for user in USERS}
