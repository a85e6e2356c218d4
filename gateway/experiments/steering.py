"""What the gateway itself makes of the weights: the whole decision, a pure function.

A breached guardrail ejects a content for as long as it is served and gateway.yaml says the same; a
ramp goes on, waits or is ready; an operator's word holds until it is taken back; a bandit deals.
gateway.yaml is never changed: what is decided here is put over its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace as with_fields
from typing import Any

from msgspec.structs import replace

from gateway.experiments.adapting import adapted
from gateway.experiments.document import ContrastReadout, GuardrailReadout
from gateway.experiments.facts import Candidate, Command, Decided, Facts, Steered
from gateway.experiments.memory import (
    BranchMemory,
    Climb,
    Ejection,
    Hold,
    Memory,
    Released,
    evidence_key,
)
from gateway.experiments.ordering import order_of, share_of
from gateway.experiments.ramps import climb, evidence_of

#: Ejected contents that are remembered of a branch, should they come back.
MOST_EJECTIONS = 20
_EDITED = "gateway.yaml says something else of it now, and that holds"
_REPLACED = "it serves other content than what was ejected"


def steer(memory: Memory, facts: Facts) -> Steered:
    """The orders that follow from what is remembered and what is known now."""
    branches: dict[str, BranchMemory] = {}
    decisions: list[Decided] = []
    taken: list[Command] = []
    for candidate in facts.candidates:
        turn = _Turn(candidate, memory.branches.get(candidate.branch), facts)
        branches[candidate.branch] = turn.take()
        decisions += turn.decisions
        taken += turn.commands
    bandit, branches, more = adapted(memory.bandit, branches, facts)
    orders = {
        str(candidate.branch): order
        for candidate in facts.candidates
        if (order := order_of(branches[candidate.branch], candidate)) is not None
    }
    remembered = replace(memory, branches=branches, bandit=bandit)
    return Steered(remembered, orders, (*decisions, *more), tuple(taken))


class _Turn:
    """What becomes of one candidate."""

    def __init__(self, candidate: Candidate, before: BranchMemory | None, facts: Facts) -> None:
        self._candidate = candidate
        self._now = facts.now
        self.commands = [one for one in facts.commands if one.branch == candidate.branch]
        self.decisions: list[Decided] = []
        new = BranchMemory(candidate.configured, candidate.fingerprint)
        self._edited = before is not None and before.configured != candidate.configured
        if before is not None and self._edited and _was_ordered(before):
            self._decide("allocation_ended", _EDITED)
        self._one = new if before is None or self._edited else before

    def take(self) -> BranchMemory:
        """Its memory from now on."""
        self._see_content()
        for command in self.commands:
            self._hold(command) if command.action == "hold" else self._release(command)
        self._guard()
        self._climb()
        return self._one

    def _decide(self, decision: str, reason: str, **evidence: Any) -> None:
        evidence |= evidence_of(self._candidate.readout)
        one = self._candidate
        self.decisions.append(Decided(one.branch, one.commit, decision, reason, evidence))

    @property
    def _ejection(self) -> Ejection | None:
        return self._one.ejections.get(self._one.serving)

    @property
    def _readout(self) -> ContrastReadout | None:
        """Of the content that is served; what is still told of another says nothing of it."""
        found = self._candidate.readout
        is_its_own = found is not None and found.candidate_fingerprint == self._one.serving
        return found if is_its_own else None

    def _see_content(self) -> None:
        fingerprint = self._candidate.fingerprint
        if not fingerprint or fingerprint == self._one.serving:
            return
        was_out = self._ejection is not None
        self._one = replace(self._one, serving=fingerprint)
        if self._ejection is not None:
            reason = f"this content was ejected before: {self._ejection.reason}"
            self._decide("guardrail_breached", reason)
        elif was_out:
            self._decide("allocation_ended", _REPLACED)

    def _hold(self, command: Command) -> None:
        one, before = self._one, self._one.hold
        share = share_of(one, self._candidate) or (before and before.share) or None
        hold = Hold(self._now, command.out, command.reason, share)
        # Without users nothing is learnt of it: the bandit begins anew.
        self._one = replace(one, hold=hold, adapted=None if command.out else one.adapted)
        what = "gets no users" if command.out else "stays where it is"
        reason = f"{what}, by {command.operator}: {command.reason or 'no reason was given'}"
        self._decide("held", reason, out=command.out, at=command.at, share=share, by=command.by)

    def _release(self, command: Command) -> None:
        one, now = self._one, self._now
        ended = {
            "hold": one.hold is not None,
            "ejection": bool(one.ejections),
            "ramp": one.ramp is not None and bool(one.ramp.held),
        }
        if not any(ended.values()):
            return
        held = tuple(one.ramp.held) if one.ramp is not None else ()
        excused = tuple(kind for kind in held if kind != "operator")
        ramp = one.ramp
        if ramp is not None:
            # Harm was seen at the step it was on; what merely waited goes on from there.
            step = 0 if self._ejection is not None else ramp.step
            ramp = Climb(ramp.fingerprint, step, now)
        self._one = replace(
            one,
            hold=None,
            ejections={},
            ramp=ramp,
            released=Released(one.serving, self._known_evidence(), excused),
        )
        what = ", ".join(name for name, was in ended.items() if was)
        reason = f"by {command.operator} ({what}): {command.reason or 'no reason was given'}"
        self._decide("released", reason, at=command.at, excused=excused, by=command.by)

    def _known_evidence(self) -> dict[str, float | None]:
        """What was known to speak against it: it ejects it no second time."""
        found: dict[str, float | None] = {}
        if (before := self._one.released) is not None and before.fingerprint == self._one.serving:
            found |= before.evidence
        if self._ejection is not None:
            found |= self._ejection.evidence
        if self._readout is not None:
            found |= _evidence(self._readout, _breached(self._readout))
        return found

    def _guard(self) -> None:
        readout = self._readout
        if readout is None or readout.shadow or self._ejection is not None:
            return
        released = self._one.released
        known = released.evidence if released and released.fingerprint == self._one.serving else {}
        against = [g for g in _breached(readout) if _is_news(g, readout.contrast, known)]
        if not against:
            return
        reason = "; ".join(f"{one.name}: {one.reason.removesuffix('.')}" for one in against)
        before = share_of(self._one, self._candidate)
        ejection = Ejection(self._now, reason, before, _evidence(readout, against))
        kept = list(self._one.ejections.items())[1 - MOST_EJECTIONS :]
        ejections = {**dict(kept), self._one.serving: ejection}
        self._one = replace(self._one, ejections=ejections, adapted=None)
        breached = [guardrail.name for guardrail in against]
        self._decide("guardrail_breached", reason, breached=breached, share_before=before)

    def _climb(self) -> None:
        ramp, one = self._candidate.ramp, self._one
        if ramp is None or not one.serving or self._ejection is not None:
            return
        released = one.released
        excused = released.excused if released and released.fingerprint == one.serving else ()
        seen = with_fields(self._candidate, fingerprint=one.serving, readout=self._readout)
        found, decisions = climb(one.ramp, seen, ramp, self._now, one.hold, excused)
        self._one = replace(one, ramp=found)
        self.decisions += decisions


def _was_ordered(one: BranchMemory) -> bool:
    return bool(one.ejections or one.hold or one.ramp or one.adapted)


def _breached(readout: ContrastReadout) -> list[GuardrailReadout]:
    return [guardrail for guardrail in readout.guardrails if guardrail.breached]


def _evidence(
    readout: ContrastReadout, guardrails: Iterable[GuardrailReadout]
) -> dict[str, float | None]:
    return {evidence_key(readout.contrast, one.name): one.log_e for one in guardrails}


def _is_news(one: GuardrailReadout, contrast: str, known: Mapping[str, float | None]) -> bool:
    """Beyond what was known at a release there must be as much again as a breach takes.

    Of means there is no such figure: what was released once is not ejected by it again.
    """
    key = evidence_key(contrast, one.name)
    if key not in known:
        return True
    then = known[key]
    return one.log_e is not None and then is not None and one.log_e >= then + one.threshold
