"""One candidate's way up its ramp: a step at a time, and none while something is wrong.

Nothing here takes users away: what does harm is ejected (`steering`), what is unclear waits.
STATISTICS §4. Pure, without numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from gateway.experiments.document import ContrastReadout
from gateway.experiments.facts import Candidate, Decided, Ramp
from gateway.experiments.memory import Climb, Hold
from gateway.experiments.metrics import BUILT_IN
from gateway.experiments.readiness import not_ready

#: No exposure for so long, or for the dwell where that is longer, holds a ramp.
SILENCE = 600.0
_SPANS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def climb(
    one: Climb | None,
    candidate: Candidate,
    ramp: Ramp,
    now: float,
    hold: Hold | None,
    excused: tuple[str, ...] = (),
) -> tuple[Climb, list[Decided]]:
    """Where it is from now on. `excused` are kinds of reasons that an operator put aside.

    Called of a content that is not ejected: no guardrail is breached, but by what was released.
    """
    decided: list[Decided] = []
    if one is None or one.fingerprint != candidate.fingerprint:
        one = Climb(candidate.fingerprint, 0, now)
        decided.append(_decided(candidate, one, "ramp_began", where(one, ramp)))
    reasons = dict(_reasons(one, candidate, ramp, now, hold))
    reasons = {kind: text for kind, text in reasons.items() if kind not in excused}
    if reasons.keys() != one.held.keys():
        since = one.held_since if one.held else now
        one = replace(one, held=reasons, held_since=since if reasons else 0.0)
        decision = "ramp_held" if reasons else "ramp_resumed"
        return one, [*decided, _decided(candidate, one, decision, said(one, ramp))]
    waits = now - one.since < ramp.dwell or candidate.units < ramp.min_units
    if reasons or one.ready_since is not None or waits or candidate.readout is None:
        return one, decided
    if one.step + 1 < len(ramp.steps):
        higher = Climb(one.fingerprint, one.step + 1, now)
        return higher, [_decided(candidate, one, "ramp_advanced", where(higher, ramp))]
    if missing := not_ready(candidate.readout):
        return replace(one, unready=missing), []
    ready = replace(one, ready_since=now, unready="")
    return ready, [_decided(candidate, one, "ramp_ready", said(ready, ramp))]


def share(one: Climb, ramp: Ramp) -> float:
    return ramp.steps[one.step] / 100


def where(one: Climb, ramp: Ramp) -> str:
    step, steps = one.step + 1, len(ramp.steps)
    return f"step {step} of {steps} of its ramp: {ramp.steps[one.step]:g} % of the users"


def said(one: Climb, ramp: Ramp) -> str:
    """How it stands, in words that stay the same for as long as it stands so."""
    if one.held:
        return f"{where(one, ramp)}, held: {'; '.join(one.held.values())}"
    if one.ready_since is not None:
        return f"{where(one, ramp)}, and no guardrail speaks against it: merge it to the baseline"
    if one.unready:
        return f"{where(one, ramp)}; not ready to be merged yet: {one.unready}"
    wanted = f"after {_span(ramp.dwell)} and {ramp.min_units:,} users"
    if one.step + 1 < len(ramp.steps):
        return f"{where(one, ramp)}; {ramp.steps[one.step + 1]:g} % {wanted}"
    return f"{where(one, ramp)}, the last; ready to be merged at the earliest {wanted}"


def _reasons(
    one: Climb, candidate: Candidate, ramp: Ramp, now: float, hold: Hold | None
) -> Iterator[tuple[str, str]]:
    """Why it must stay, by kind; a kind's words may differ from one look to the next."""
    if hold is not None:
        yield "operator", "by an operator" + (f", {hold.reason}" if hold.reason else "")
        if hold.out:
            return
    longest = max(ramp.dwell, SILENCE)
    if now - max(one.since, candidate.last_exposure or 0.0) > longest:
        yield "no_data", f"no request of its users for {_span(longest)}"
    elif candidate.readout is None and now - one.since > longest:
        yield "no_baseline", "nothing compares it with the baseline, which has no users of its own"
    if candidate.drift is not None:
        yield "drift", f"drift of its rows is {candidate.drift}"
    if candidate.split_drift:
        yield "split", "its inputs differ from the baseline's, which a sound split cannot bring"
    if candidate.readout is not None:
        yield from _in_doubt(candidate.readout)


def _in_doubt(readout: ContrastReadout) -> Iterator[tuple[str, str]]:
    if readout.sample_ratio is not None and readout.sample_ratio.mismatch:
        yield "sample_ratio", "users did not fall on the branches by their weights"
    for metric in readout.metrics:
        decides = metric.role in ("primary", "guardrail")
        if decides and metric.arrivals is not None and metric.arrivals.mismatch:
            text = f"outcomes of {metric.name} do not arrive from both branches alike"
            yield f"arrivals:{metric.name}", text
    for guardrail in readout.guardrails:
        figures = (guardrail.baseline, guardrail.candidate)
        if guardrail.name not in BUILT_IN and not any(f.outcomes or f.events for f in figures):
            yield f"missing:{guardrail.name}", f"no outcome of {guardrail.name} has come in"


def _decided(candidate: Candidate, one: Climb, decision: str, reason: str) -> Decided:
    """`one` is where it was when that was decided."""
    evidence: dict[str, Any] = {
        "step": one.step + 1,
        "since": one.since,
        "units": candidate.units,
        "last_exposure": candidate.last_exposure,
        "held": one.held,
        **evidence_of(candidate.readout),
    }
    return Decided(candidate.branch, candidate.commit, decision, reason, evidence)


def evidence_of(readout: ContrastReadout | None) -> dict[str, Any]:
    """The numbers of a contrast that decisions are made by."""
    if readout is None:
        return {}
    return {
        "contrast": readout.contrast,
        "baseline": readout.baseline,
        "baseline_fingerprint": readout.baseline_fingerprint,
        "candidate_fingerprint": readout.candidate_fingerprint,
        "epochs": to_builtins(readout.epochs),
        "sample_ratio": to_builtins(readout.sample_ratio),
        "guardrails": to_builtins(readout.guardrails),
    }


def _span(seconds: float) -> str:
    for name, size in _SPANS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {name}"
    return f"{seconds:g} s"
