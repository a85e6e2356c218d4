"""Read-out documents as the monitor writes them, of made figures."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from gateway.experiments.document import (
    ArmFigures,
    Bounds,
    BranchAllocation,
    ContrastReadout,
    EpochReadout,
    ExperimentReadout,
    Feedback,
    GuardrailReadout,
    MetricReadout,
    PairedReadout,
    Ratio,
    Word,
)

COMMITS = {"prod": "a1" * 20, "exp": "b2" * 20}
E_100 = math.log(100)
REASONS: dict[Word, str] = {
    "insufficient": "Too early to say: there are 12 events, of 25 that each arm needs.",
    "running": "Not decided yet, which does not mean no effect: +3.1 % (95 % interval -2 to +8 %).",
    "better": "The candidate is better: +12.3 % (95 % interval +3.1 % to +22 %).",
    "worse": "The candidate is worse: -9 % (95 % interval -15 % to -3 %).",
    "equivalent": "As good as equal, since any difference is less than the margin of 2 %.",
    "invalid": "The 9,000 units did not fall on the branches as their weights say.",
    "stale": "This is of content that is served no more: exp was merged to.",
}


def metric(name: str = "conversion", status: Word = "running", **changes: Any) -> MetricReadout:
    """The primary metric, a binary one, unless told otherwise."""
    made = MetricReadout(
        name=name,
        role="primary",
        kind="binary",
        direction="up",
        window=86_400.0,
        margin=0.02,
        planned_units=10_000,
        status=status,
        reason=REASONS[status],
        method="exact",
        baseline=ArmFigures(40_213, 4_061, value=0.101),
        candidate=ArmFigures(4_480, 509, value=0.1136),
        difference=Bounds(0.0126, 0.0031, 0.022),
        relative=Bounds(0.123, 0.031, 0.2204),
        p=0.0123,
        log_e=math.log(81.3),
        looks=214,
        as_of="2026-11-28T13:00:00.000Z",
        pending_units=1_234,
        expected_days=3.2,
        expected="At the present 2,000 units a day, a difference as small as the present one would"
        " take about 4 days more.",
    )
    return msgspec.structs.replace(made, **changes)


def unknown(name: str, role: str = "secondary", **changes: Any) -> MetricReadout:
    """A metric of which nothing can be said."""
    nothing: dict[str, Any] = {
        "role": role,
        "kind": "mean",
        "method": "asymptotic",
        "baseline": ArmFigures(12, 0),
        "candidate": ArmFigures(3, 0),
        **dict.fromkeys(("difference", "relative", "p", "log_e", "as_of", "expected_days")),
        "looks": 0,
        "pending_units": 0,
        "expected": "",
    }
    return metric(name, "insufficient", **{**nothing, **changes})


def guardrail(name: str = "error_rate", *, breached: bool = False) -> GuardrailReadout:
    return GuardrailReadout(
        name=name,
        breached=breached,
        log_e=math.log(450) if breached else math.log(0.42),
        threshold=E_100,
        margin=0.1,
        baseline=ArmFigures(40_213, 201, value=0.005),
        candidate=ArmFigures(4_480, 90 if breached else 23, value=0.02 if breached else 0.00513),
        reason="Likelier by more than the margin of 10 %: 90 of the 291 units with it are the"
        " candidate's."
        if breached
        else "Not known to be likelier by more than the margin of 10 %.",
    )


def ratio(*, mismatch: bool = False) -> Ratio:
    return Ratio(
        mismatch=mismatch,
        log_e=math.log(1e9) if mismatch else math.log(0.02),
        threshold=E_100,
        p=1e-12 if mismatch else 0.61,
        baseline=40_213,
        candidate=3_000 if mismatch else 4_480,
        expected=0.1,
    )


def epoch(number: int = 1, share: float = 0.1) -> EpochReadout:
    return EpochReadout(
        epoch=f"{number:012x}",
        share=share,
        since=f"2026-11-{number:02}T10:00:00.000Z",
        until=f"2026-11-{number + 1:02}T10:00:00.000Z",
        baseline_units=40_213,
        candidate_units=4_480,
    )


def contrast(candidate: str = "exp", status: Word = "running", **changes: Any) -> ContrastReadout:
    """A current one with a primary metric at `status`, a secondary metric and a guardrail."""
    made = ContrastReadout(
        contrast="0123456789ab",
        baseline="prod",
        candidate=candidate,
        baseline_fingerprint="1" * 32,
        candidate_fingerprint="2" * 32,
        baseline_commit=COMMITS["prod"],
        candidate_commit=COMMITS["exp"],
        current=status != "stale",
        shadow=False,
        status=status,
        reason=REASONS[status],
        since="2026-11-27T10:00:00.000Z",
        until="2026-11-29T13:00:00.000Z",
        epochs=(epoch(),),
        sample_ratio=ratio(mismatch=status == "invalid"),
        metrics=(metric(status=status), unknown("revenue")),
        guardrails=(guardrail(),),
    )
    return msgspec.structs.replace(made, **changes)


def shadow(candidate: str = "dev", status: Word = "better") -> ContrastReadout:
    """One that answers nobody, judged on labelled rows."""
    reason = "The candidate is better: +0.021 (95 % interval +0.004 to +0.038)."
    pair = PairedReadout(
        metric="accuracy",
        status=status,
        reason=reason,
        rows=3_912,
        differing=211,
        difference=Bounds(0.021, 0.004, 0.038),
        p=0.004,
        as_of="2026-11-29T12:00:00.000Z",
    )
    return contrast(
        candidate,
        status,
        shadow=True,
        reason=reason,
        metrics=(),
        guardrails=(),
        sample_ratio=None,
        paired=(pair,),
    )


def document(*contrasts: ContrastReadout, **changes: Any) -> ExperimentReadout:
    made = ExperimentReadout(
        written="2026-11-29T13:05:09.000Z",
        baseline="prod",
        salt="churn-2026-11",
        epoch="0" * 11 + "1",
        contrasts=contrasts or (contrast(),),
        feedback=Feedback(accepted=4_012, late=12, duplicate=3, unknown=1, waiting=7),
        excluded={"excluded": 812, "override": 2},
        allocation={
            "exp": BranchAllocation(
                "ramping", 0.05, "step 2 of 5 since an hour", "2026-11-29T12:00:00.000Z"
            )
        },
    )
    return msgspec.structs.replace(made, **changes)


def example() -> ExperimentReadout:
    """The one that deploy/experiments.md shows."""
    reason = (
        "Not decided yet, which does not mean no effect: +5.21 % (95 % interval -6.1 % to +17.9 %)."
    )
    undecided = metric(
        reason=reason,
        candidate=ArmFigures(4_480, 476, value=0.1063),
        difference=Bounds(0.0053, -0.006, 0.018),
        relative=Bounds(0.0521, -0.061, 0.179),
        p=0.31,
        log_e=math.log(3.2),
        expected_days=12.4,
        expected="At the present 2,000 units a day, a difference as small as the present one would"
        " take about 13 days more.",
    )
    revenue = unknown(
        "revenue", reason="Too early to say: there are 15 units, of 100 that it takes."
    )
    return document(
        contrast(
            reason=reason,
            epochs=(epoch(27), epoch(28, 0.05)),
            metrics=(undecided, revenue),
            guardrails=(guardrail(), guardrail("latency_over_slo", breached=True)),
        ),
        contrast("ab-test-210323", "stale"),
    )


def as_json(found: ExperimentReadout) -> bytes:
    return msgspec.json.encode(found)


def changed(found: ExperimentReadout, **changes: Any) -> dict[str, Any]:
    """As JSON has it, with some fields put otherwise."""
    plain: dict[str, Any] = msgspec.json.decode(as_json(found))
    return {**plain, **changes}
