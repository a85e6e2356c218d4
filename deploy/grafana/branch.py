"""The dashboard Branch: one branch, or a few beside each other, in depth."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.overview import FAILED, MOST_FAILED, SLOW, quantile, ratio
from deploy.grafana.panels import (
    BRANCH,
    JOB,
    RATE,
    THIRD,
    About,
    Drawn,
    Query,
    dashboard,
    figure,
    filled,
    lines,
    rows,
    spread,
)


def branch() -> Dashboard:
    """The dashboard, not yet written."""
    page = dashboard("gateway-branch", "Branch", "One branch in depth: choose it above.")
    return filled(
        page,
        {
            "": _at_a_glance(),
            "Answers": _answers(),
            "The model": _model(),
            "Workers and commits": _workers(),
            "Containment and environments": _contained(),
            "Rows to git": _rows(),
            "As a shadow": _shadow(),
        },
    )


def rate(metric: str, by: str) -> str:
    """A second, by branch and one more label."""
    labels = f"branch, {by}" if by else "branch"
    return f"sum by ({labels}) (rate({metric}{{{BRANCH}}}{RATE}))"


def grown(metric: str, by: str) -> str:
    """How many since the last point, by branch and one more label."""
    return f"sum by (branch, {by}) (increase({metric}{{{BRANCH}}}{RATE}))"


def _at_a_glance() -> list[Drawn]:
    return [
        figure(
            About("Share of the users", "As in force now.", "percentunit"),
            Query(f"max by (branch) (gateway_branch_weight_ratio{{{BRANCH}}})", "{{branch}}"),
        ),
        figure(
            About("Requests", "Requests a second.", "reqps"),
            Query(rate("gateway_requests_total", ""), "{{branch}}"),
        ),
        figure(
            About(
                "Failed",
                "Share of the requests that nobody answered.",
                "percentunit",
                steps=(MOST_FAILED, 0.0144),
            ),
            Query(ratio(FAILED, "branch"), "{{branch}}"),
        ),
        figure(
            About(
                "Latency",
                "Time within which 99 % of the requests are answered.",
                "s",
                steps=(SLOW, 1.0),
            ),
            Query(quantile(0.99, "branch"), "{{branch}}"),
        ),
        figure(
            About(
                "Workers",
                "Loaded worker processes, of all gateways.",
                "none",
                steps=(1, 1),
                falling=True,
            ),
            Query(f"sum by (branch) (gateway_workers{{{BRANCH}}})", "{{branch}}"),
        ),
        figure(
            About(
                "Rows waiting", "Rows waiting for a worker, at the gateway with the most.", "none"
            ),
            Query(f"max by (branch) (gateway_queue_rows{{{BRANCH}}})", "{{branch}}"),
        ),
    ]


def _answers() -> list[Drawn]:
    buckets = f"sum by (le) (increase(gateway_request_duration_seconds_bucket{{{BRANCH}}}{RATE}))"
    return [
        lines(
            About(
                "Requests by ending",
                "Of the requests assigned to the branch: how they ended.",
                "reqps",
                span=THIRD,
            ),
            Query(rate("gateway_requests_total", "status"), "{{branch}} {{status}}"),
            stacked=True,
        ),
        lines(
            About("Latency", "By the branch that answered.", "s", span=THIRD, steps=(SLOW, None)),
            Query(quantile(0.5, "branch"), "{{branch}} 50 %"),
            Query(quantile(0.9, "branch"), "{{branch}} 90 %"),
            Query(quantile(0.99, "branch"), "{{branch}} 99 %"),
        ),
        spread(
            About("Latency, all answers", "How many answers took how long.", "s", span=THIRD),
            Query(buckets),
        ),
    ]


def _model() -> list[Drawn]:
    mean = f"{rate('gateway_batch_rows_sum', '')} / {rate('gateway_batch_rows_count', '')}"
    return [
        lines(
            About(
                "Rows predicted", "Rows a second; a request may have several.", "cps", span=THIRD
            ),
            Query(rate("gateway_rows_total", ""), "{{branch}}"),
        ),
        lines(
            About(
                "Rows in a call",
                "Rows that the model gets at once, on the average: more under load,"
                " up to limits.batch_rows.",
                "none",
                span=THIRD,
            ),
            Query(mean, "{{branch}}"),
        ),
        lines(
            About(
                "Columns it does not use",
                "Values in named records that this model has no column"
                " for: harmless, or a misspelt name.",
                "cps",
                span=THIRD,
            ),
            Query(rate("gateway_ignored_columns_total", ""), "{{branch}}"),
        ),
    ]


def _workers() -> list[Drawn]:
    loads = "gateway_load_duration_seconds"
    mean = (
        f"sum by (branch) (increase({loads}_sum{{{BRANCH}}}[1h]))"
        f" / sum by (branch) (increase({loads}_count{{{BRANCH}}}[1h]))"
    )
    return [
        rows(
            About(
                "Serving",
                "Commit and content in force, and how many gateways serve it.",
                "none",
                span=THIRD,
            ),
            ("branch", "commit", "fingerprint"),
            {
                "Gateways": Query(
                    f"count by (branch, commit, fingerprint) (gateway_branch_info{{{BRANCH}}})"
                ),
                "Faster form": Query(f"min by (branch) (gateway_branch_accelerated{{{BRANCH}}})"),
            },
        ),
        lines(
            About(
                "New content", "Contents that were swapped in, or quarantined.", "none", span=THIRD
            ),
            Query(grown("gateway_reloads_total", "result"), "{{branch}} {{result}}"),
        ),
        lines(
            About(
                "Time to load",
                "From a snapshot to a probed worker, on the average of an hour.",
                "s",
                span=THIRD,
            ),
            Query(mean, "{{branch}}"),
        ),
        lines(
            About(
                "Ended workers",
                "retired: as they should. died: by themselves. too_slow: killed."
                " not_started: could not load.",
                "none",
                span=THIRD,
            ),
            Query(grown("gateway_worker_exits_total", "reason"), "{{branch}} {{reason}}"),
        ),
        lines(
            About(
                "Ejections",
                "How often the baseline took over after failures in a row; and whether it"
                " answers now (1).",
                "none",
                span=THIRD,
            ),
            Query(
                f"sum by (branch) (increase(gateway_branch_ejections_total{{{BRANCH}}}{RATE}))",
                "{{branch}} ejections",
            ),
            Query(f"max by (branch) (gateway_branch_ejected{{{BRANCH}}})", "{{branch}} ejected"),
        ),
        lines(
            About(
                "Trouble",
                "1 while this is wrong: missing from the repository, content that is"
                " refused, remote away, this machine's disk; or the newest commit is refused.",
                "none",
                span=THIRD,
            ),
            Query(
                f"max by (branch, reason) (gateway_branch_trouble{{{BRANCH}}})",
                "{{branch}} {{reason}}",
            ),
            Query(
                f"max by (branch) (gateway_branch_quarantined{{{BRANCH}}})",
                "{{branch}} quarantined",
            ),
        ),
    ]


def _contained() -> list[Drawn]:
    return [
        lines(
            About(
                "Layers that hold",
                "1 for a layer of containment that holds in the workers, 0 for one that lacks.",
                "none",
                span=THIRD,
            ),
            Query(
                f"min by (branch, layer) (gateway_branch_contained{{{BRANCH}}})",
                "{{branch}} {{layer}}",
            ),
        ),
        lines(
            About(
                "Attempts",
                "What the branch's code tried though its containment does not allow it.",
                "none",
                span=THIRD,
            ),
            Query(
                f"sum by (branch) (increase(gateway_branch_attempts_total{{{BRANCH}}}{RATE}))",
                "{{branch}}",
            ),
        ),
        lines(
            About(
                "Environments",
                "Of all branches: environments that loads asked for, by how that ended.",
                "none",
                span=THIRD,
            ),
            Query(
                f"sum by (result) (increase(gateway_environment_builds_total{{{JOB}}}{RATE}))",
                "{{result}}",
            ),
        ),
    ]


def _rows() -> list[Drawn]:
    return [
        lines(
            About("Monitoring commits", "Commits of rows, by how they ended.", "none", span=THIRD),
            Query(grown("gateway_pushes_total", "result"), "{{branch}} {{result}}"),
        ),
        lines(
            About("Diverted", "1 while rows go to the side branch.", "none", span=THIRD),
            Query(f"max by (branch) (gateway_branch_diverted{{{BRANCH}}})", "{{branch}}"),
        ),
        lines(
            About(
                "Lines of output dropped",
                "Warnings and errors of the branch's code, beyond the rate that is kept.",
                "cps",
                span=THIRD,
            ),
            Query(rate("gateway_branch_output_dropped_lines_total", ""), "{{branch}}"),
        ),
    ]


def _shadow() -> list[Drawn]:
    served = "branch, served"
    return [
        lines(
            About(
                "Copies",
                "Copies of requests that a shadow computed, by how they ended.",
                "reqps",
                span=THIRD,
            ),
            Query(rate("gateway_shadow_requests_total", "status"), "{{branch}} {{status}}"),
        ),
        lines(
            About(
                "Copies dropped",
                "Rows that a shadow did not compute. No user notices.",
                "cps",
                span=THIRD,
            ),
            Query(rate("gateway_shadow_dropped_rows_total", "reason"), "{{branch}} {{reason}}"),
        ),
        lines(
            About(
                "Agreement",
                "Share of equal predictions among the rows both answered, and mean"
                " difference of their scores.",
                "percentunit",
                span=THIRD,
            ),
            Query(
                f"avg by ({served}) (gateway_shadow_agreement_ratio{{{BRANCH}}})",
                "{{branch}} and {{served}} agree",
            ),
            Query(
                f"avg by ({served}) (gateway_shadow_score_difference_ratio{{{BRANCH}}})",
                "{{branch}} and {{served}} differ by",
            ),
        ),
    ]
