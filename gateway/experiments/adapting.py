"""The bandit's turn: when users are dealt anew, among which branches, and what of.

Branches with a ramp, held or ejected ones are no part of it: they keep the shares that they have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from gateway.assignment import Split
from gateway.experiments import ramps
from gateway.experiments.allocation import MOST, effective, in_force
from gateway.experiments.bandit import CADENCE, LEAST_UNITS, dealt
from gateway.experiments.facts import Adaptive, ArmCounts, Candidate, Decided, Facts
from gateway.experiments.memory import Adapted, Bandit, BranchMemory
from gateway.experiments.ordering import order_of
from gateway.names import Branch

Branches = dict[str, BranchMemory]


def adapted(
    bandit: Bandit, branches: Branches, facts: Facts
) -> tuple[Bandit, Branches, list[Decided]]:
    """What is remembered from now on. Without `facts.adaptive` weights are gateway.yaml's again."""
    if facts.adaptive is None:
        forgotten = {name: replace(one, adapted=None) for name, one in branches.items()}
        return Bandit(bandit.number), forgotten, []
    fingerprint = facts.baseline_fingerprint or bandit.baseline_fingerprint
    if fingerprint != bandit.baseline_fingerprint:
        # Everything was learnt beside other content.
        branches = {name: replace(one, adapted=None) for name, one in branches.items()}
        return Bandit(bandit.number, facts.now, fingerprint), branches, []
    branches = {name: _of_its_content(one) for name, one in branches.items()}
    arms = [one for one in facts.candidates if _takes_part(one, branches[one.branch])]
    if not _is_due(bandit, branches, facts, facts.adaptive, arms):
        return bandit, branches, []
    return _update(bandit, branches, facts, facts.adaptive, arms)


def _of_its_content(one: BranchMemory) -> BranchMemory:
    stale = one.adapted is not None and one.adapted.fingerprint != one.serving
    return replace(one, adapted=None) if stale else one


def _takes_part(candidate: Candidate, one: BranchMemory) -> bool:
    return bool(
        candidate.ramp is None
        and candidate.weight > 0
        and one.serving
        and one.hold is None
        and one.serving not in one.ejections
    )


def _is_due(
    bandit: Bandit, branches: Branches, facts: Facts, adaptive: Adaptive, arms: list[Candidate]
) -> bool:
    known = arms and bandit.baseline_fingerprint and facts.baseline_weight > 0
    if not known or facts.now - bandit.since < CADENCE:
        return False
    if any(
        one.readout is not None
        and one.readout.sample_ratio is not None
        and one.readout.sample_ratio.mismatch
        for one in arms
    ):
        return False
    marks = {facts.baseline: bandit.units}
    for one in arms:
        part = branches[one.branch].adapted
        marks[one.branch] = part.units if part is not None else 0
    return all(_units(adaptive, arm) - mark >= LEAST_UNITS for arm, mark in marks.items())


def _units(adaptive: Adaptive, arm: Branch) -> int:
    return adaptive.arms.get(arm, ArmCounts(0, 0)).units


def _update(
    bandit: Bandit, branches: Branches, facts: Facts, adaptive: Adaptive, arms: list[Candidate]
) -> tuple[Bandit, Branches, list[Decided]]:
    taking_part = [one.branch for one in arms]
    now = _shares(branches, facts)
    found, kept = dict(branches), 0.0
    for candidate in facts.candidates:
        if candidate.branch not in taking_part:
            one, share = _settled(branches[candidate.branch], candidate, now[candidate.branch])
            found[candidate.branch], kept = one, kept + share
    if kept > MOST:
        return bandit, branches, []
    number = bandit.number + 1
    counts = {arm: adaptive.arms[arm] for arm in (facts.baseline, *taking_part)}
    up = adaptive.direction == "up"
    shares = dealt(counts, number, facts.epoch, 1.0 - kept, up=up)
    for arm in taking_part:
        serving, units = branches[arm].serving, counts[arm].units
        part = Adapted(serving, shares[arm], units, facts.now, number)
        found[arm] = replace(branches[arm], adapted=part)
    after = Bandit(number, facts.now, bandit.baseline_fingerprint, counts[facts.baseline].units)
    return after, found, [_decided(facts, adaptive, number, counts, shares)]


def _settled(one: BranchMemory, candidate: Candidate, share: float) -> tuple[BranchMemory, float]:
    """A branch that takes no part, with a share in figures in place of a weight; and its share.

    Where it has no users the others leave no room for them any more, as all users are dealt anew.
    """
    out = one.hold is not None and one.hold.out
    if out or one.serving in one.ejections:
        ejections = {name: replace(one, before=0.0) for name, one in one.ejections.items()}
        hold = one.hold and replace(one.hold, share=0.0 if out else None)
        return replace(one, ejections=ejections, hold=hold), 0.0
    if candidate.ramp is not None:
        first = candidate.ramp.steps[0] / 100
        return one, first if one.ramp is None else ramps.share(one.ramp, candidate.ramp)
    if one.hold is not None and share > 0:
        return replace(one, hold=replace(one.hold, share=share)), share
    return one, share


def _shares(branches: Branches, facts: Facts) -> Mapping[Branch, float]:
    """Of all users, as the front deals them now."""
    weights = {one.branch: one.weight for one in facts.candidates}
    orders = {
        str(one.branch): order
        for one in facts.candidates
        if (order := order_of(branches[one.branch], one)) is not None
    }
    held = in_force(
        orders,
        {one.branch: one.configured for one in facts.candidates},
        {one.branch: branches[one.branch].serving for one in facts.candidates},
    )
    first = {one.branch: one.ramp.steps[0] / 100 for one in facts.candidates if one.ramp}
    weights[facts.baseline] = facts.baseline_weight
    return Split("", effective(weights, facts.baseline, first, held)).propensities


def _decided(
    facts: Facts,
    adaptive: Adaptive,
    number: int,
    counts: Mapping[Branch, ArmCounts],
    shares: Mapping[Branch, float],
) -> Decided:
    told = ", ".join(f"{arm} {share * 100:.3g} %" for arm, share in sorted(shares.items()))
    evidence: dict[str, Any] = {
        "update": number,
        "metric": adaptive.metric,
        "direction": adaptive.direction,
        "epoch": facts.epoch,
        "counts": {arm: {"units": c.units, "events": c.events} for arm, c in counts.items()},
        "shares": dict(shares),
    }
    reason = f"users are dealt by {adaptive.metric}, update {number}: {told}"
    return Decided(facts.baseline, facts.baseline_commit, "weights_adapted", reason, evidence)
