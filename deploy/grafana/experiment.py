"""The dashboard Experiment and drift: which branch is better, and is that fair."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.drift import columns, of_branch, verdicts, worst_columns
from deploy.grafana.panels import (
    BRANCH,
    JOB,
    QUARTER,
    RATE,
    THIRD,
    WHOLE,
    About,
    Drawn,
    Query,
    choice,
    dashboard,
    figure,
    filled,
    lines,
    rows,
)

#: Of one metric of an experiment. Replicas say the same, so the largest stands for all.
METRIC = f'{BRANCH}, metric=~"$metric"'


def experiment() -> Dashboard:
    """The dashboard, not yet written."""
    page = dashboard(
        "gateway-experiment",
        "Experiment and drift",
        "Candidates beside the baseline, and rows beside their reference.",
        choice("metric", "Metric", 'label_values(gateway_experiment_status{job=~"$job"}, metric)'),
    )
    return filled(
        page,
        {
            "": _at_a_glance(),
            "Which is better": _better(),
            "Is it fair, and does it harm": _fair(),
            "Outcomes": _outcomes(),
            "Drift": verdicts(),
            "Columns": [worst_columns(), *columns()],
        },
    )


def of_metric(name: str) -> str:
    """A figure of the experiment, by branch and metric."""
    return f"max by (branch, metric) (gateway_experiment_{name}{{{METRIC}}})"


def _at_a_glance() -> list[Drawn]:
    status = (
        "count by (status)"
        f" (max by (branch, metric, status) (gateway_experiment_status{{{METRIC}}}) == 1)"
    )
    return [
        figure(
            About(
                "Metrics by word",
                "How many metrics of candidates stand at which word: better,"
                " worse and equivalent are decided.",
                "none",
            ),
            Query(status, "{{status}}"),
        ),
        figure(
            About(
                "Least p",
                "Smallest always-valid p of any metric so far. It may be looked at as"
                " often as one likes.",
                "none",
            ),
            Query(f"min(gateway_experiment_p{{{METRIC}}})", "p"),
        ),
        figure(
            About(
                "Breached guardrails",
                "Metrics by which a candidate does more harm than it may.",
                "none",
                steps=(None, 1),
            ),
            Query(
                f"sum(max by (branch, metric) (gateway_experiment_guardrail_breached{{{BRANCH}}}))",
                "breached",
            ),
        ),
        figure(
            About(
                "Broken splits",
                "Candidates whose users are lost or moved: their results mean nothing.",
                "none",
                steps=(None, 1),
            ),
            Query(
                f"sum(max by (branch) (gateway_experiment_sample_ratio_mismatch{{{BRANCH}}}))",
                "broken",
            ),
        ),
        figure(
            About(
                "Worst drift",
                "Worst verdict on a column: 0 ok, 1 warn, 2 alert, 3 critical.",
                "none",
                steps=(1, 3),
            ),
            Query(of_branch("drift_branch_severity"), "{{branch}}"),
        ),
        figure(
            About(
                "Counted",
                "1 while experiments are counted and guardrails watched.",
                "none",
                steps=(1, 1),
                falling=True,
            ),
            Query(f"min(gateway_experiments_up{{{JOB}}})", "counted"),
        ),
    ]


def _better() -> list[Drawn]:
    word = f"max by (branch, metric, status) (gateway_experiment_status{{{METRIC}}}) == 1"
    return [
        rows(
            About(
                "Words",
                "Where each metric of each candidate stands. `insufficient` and `running` are"
                " not `no effect`.",
                "none",
                span=THIRD,
                height=9,
            ),
            ("branch", "metric", "status"),
            {"So": Query(word)},
        ),
        lines(
            About(
                "Lift over the baseline",
                "Relative difference of each metric, with its always-valid"
                " interval: as long as that holds 0, nothing is decided.",
                "percentunit",
                span=WHOLE - THIRD,
                height=9,
            ),
            Query(of_metric("relative_lift_ratio"), "{{branch}} {{metric}}"),
            Query(of_metric("relative_lift_low_ratio"), "{{branch}} {{metric}} at least"),
            Query(of_metric("relative_lift_high_ratio"), "{{branch}} {{metric}} at most"),
            signed=True,
        ),
        lines(
            About(
                "Evidence",
                "Natural logarithm of a metric's largest e-value so far: 3 is one in"
                " twenty, were there no difference.",
                "none",
                span=QUARTER,
                steps=(3, None),
            ),
            Query(of_metric("log_e_value"), "{{branch}} {{metric}}"),
            signed=True,
        ),
        lines(
            About("p", "Smallest always-valid p so far.", "none", span=QUARTER),
            Query(of_metric("p"), "{{branch}} {{metric}}"),
        ),
        lines(
            About(
                "Time to a decision",
                "At present traffic, were the estimate true; no line where nobody can say.",
                "s",
                span=QUARTER,
            ),
            Query(of_metric("expected_seconds"), "{{branch}} {{metric}}"),
        ),
        lines(
            About("Units", "Users that count, by arm; of what is mature.", "none", span=QUARTER),
            Query(
                f"max by (branch, metric, arm) (gateway_experiment_units{{{METRIC}}})",
                "{{branch}} {{metric}} {{arm}}",
            ),
            Query(
                f"max by (branch, metric, arm) (gateway_experiment_events{{{METRIC}}})",
                "{{branch}} {{metric}} {{arm}} with the event",
            ),
        ),
    ]


def _fair() -> list[Drawn]:
    return [
        lines(
            About(
                "Guardrails",
                "Evidence that a guardrail is breached, as the natural logarithm of its"
                " largest e-value: at 4.6 (one in a hundred) the candidate is out.",
                "none",
                span=THIRD,
                steps=(3, 4.6),
            ),
            Query(
                f"max by (branch, metric) (gateway_experiment_guardrail_log_e_value{{{BRANCH}}})",
                "{{branch}} {{metric}}",
            ),
            signed=True,
        ),
        lines(
            About(
                "Split",
                "1 if users did not fall on candidate and baseline as the weights say.",
                "none",
                span=THIRD,
                steps=(None, 1),
            ),
            Query(of_branch("experiment_sample_ratio_mismatch"), "{{branch}}"),
        ),
        lines(
            About(
                "Decided by the gateway",
                "1 while it decides on a branch's share: ejected, held,"
                " ramping, ready to be merged, adaptive.",
                "none",
                span=THIRD,
            ),
            Query(
                f"max by (branch, state) (gateway_branch_held{{{BRANCH}}})", "{{branch}} {{state}}"
            ),
            Query(of_branch("branch_weight_ratio"), "{{branch}} share"),
        ),
    ]


def _outcomes() -> list[Drawn]:
    return [
        lines(
            About(
                "Outcomes sent",
                "Outcomes a second, as they were judged when they came.",
                "cps",
                span=THIRD,
            ),
            Query(
                f"sum by (status) (rate(gateway_feedback_items_total{{{JOB}}}{RATE}))", "{{status}}"
            ),
        ),
        lines(
            About(
                "Outcomes joined",
                "What became of them: accepted; late; duplicate; unknown, whose"
                " request nobody knows.",
                "cps",
                span=THIRD,
            ),
            Query(
                f"sum by (status) (rate(gateway_feedback_joined_total{{{JOB}}}{RATE}))",
                "{{status}}",
            ),
        ),
        lines(
            About(
                "Outcomes waiting",
                "Whose request was not seen yet; and how old the read-out is, in seconds.",
                "none",
                span=THIRD,
            ),
            Query(f"sum(gateway_feedback_waiting{{{JOB}}})", "waiting"),
            Query(
                f"time() - max(gateway_experiment_written_timestamp_seconds{{{JOB}}})",
                "age of the read-out",
            ),
        ),
    ]
