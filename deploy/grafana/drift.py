"""The part about drift of a dashboard: did the world move, and which columns did."""

from __future__ import annotations

from deploy.grafana.panels import (
    BRANCH,
    GREEN,
    JOB,
    QUARTER,
    RATE,
    RED,
    THIRD,
    WHOLE,
    YELLOW,
    About,
    Drawn,
    Query,
    bars,
    lines,
    rows,
    words,
)

SEVERITIES = {
    "0": ("ok", GREEN),
    "1": ("warn", YELLOW),
    "2": ("alert", "orange"),
    "3": ("critical", RED),
}


def of_branch(name: str, labels: str = BRANCH) -> str:
    """A figure of drift, by branch."""
    return f"max by (branch) (gateway_{name}{{{labels}}})"


def of_column(name: str) -> str:
    """A figure of drift, by branch and column."""
    return f"max by (branch, column) (gateway_drift_{name}{{{BRANCH}}})"


def verdicts() -> list[Drawn]:
    """What is said of branches as a whole."""
    return [
        words(
            About("Verdicts", "The worst verdict on a column of each branch.", "none"),
            SEVERITIES,
            Query(of_branch("drift_branch_severity"), "{{branch}}"),
        ),
        lines(
            About("Columns by verdict", "All columns of the last window.", "none"),
            Query(
                f"max by (branch, severity) (gateway_drift_columns{{{BRANCH}}})",
                "{{branch}} {{severity}}",
            ),
        ),
        lines(
            About(
                "Moved as a whole",
                "1 if the answers moved, or a tenth of the columns.",
                "none",
                span=QUARTER,
                steps=(None, 1),
            ),
            Query(of_branch("drift_drifted"), "{{branch}}"),
        ),
        lines(
            About("Age of the last window", "Time since the last window ended.", "s", span=QUARTER),
            Query(f"time() - {of_branch('drift_window_end_timestamp_seconds')}", "{{branch}}"),
        ),
        lines(
            About("Rows taken into windows", "Rows a second.", "cps", span=QUARTER),
            Query(
                f"sum by (branch) (rate(gateway_drift_rows_total{{{BRANCH}}}{RATE}))", "{{branch}}"
            ),
        ),
        lines(
            About(
                "Rows behind",
                "Rows that are in no window yet, and rows that were left out.",
                "none",
                span=QUARTER,
            ),
            Query(f"sum(gateway_drift_lag_rows{{{JOB}}})", "behind"),
            Query(f"sum(increase(gateway_drift_left_out_rows_total{{{JOB}}}{RATE}))", "left out"),
        ),
    ]


def worst_columns() -> Drawn:
    """A table of them, with all their figures."""
    table = {
        "Verdict": Query(of_column("severity")),
        "PSI": Query(of_column("psi")),
        "By chance": Query(of_column("psi_null")),
        "Tolerance": Query(of_column("tolerance")),
        "p": Query(of_column("p")),
        "Missing": Query(of_column("missing_ratio")),
        "Invalid": Query(of_column("invalid_ratio")),
        "Mean shift, sd": Query(of_column("mean_shift_sd")),
    }
    numbers = ("PSI", "By chance", "Tolerance", "Mean shift, sd")
    looks: dict[str, dict[str, object]] = {name: {"decimals": 3} for name in numbers}
    looks |= {name: {"unit": "percentunit"} for name in ("Missing", "Invalid")}
    return rows(
        About(
            "Worst columns",
            "The worst columns of each branch's last window: what moved, how far"
            " beyond its tolerance, and how likely by chance.",
            "none",
            span=WHOLE,
            height=10,
        ),
        ("branch", "column"),
        table,
        looks,
    )


def columns() -> list[Drawn]:
    """The worst of them, beside each other and over time."""
    worst = of_column("psi")
    return [
        bars(
            About(
                "Distance, of the tolerance",
                "Population stability index of the last window as a part"
                " of what is no drift yet: beyond 1 it drifted, if p says so.",
                "percentunit",
                steps=(1, 4),
            ),
            Query(f"topk(15, {worst} / {of_column('tolerance')})", "{{branch}} {{column}}"),
        ),
        lines(
            About("Distance", "Population stability index, window by window.", "none"),
            Query(f"topk(15, {worst})", "{{branch}} {{column}}"),
        ),
        lines(
            About(
                "Evidence of drift",
                "p of such a window, were the true distance as large as the"
                " tolerance; it drifted below the threshold.",
                "none",
                span=THIRD,
            ),
            Query(f"bottomk(10, {of_column('p')})", "{{branch}} {{column}}"),
            Query(of_branch("drift_p_threshold"), "{{branch}} threshold"),
        ),
        lines(
            About(
                "Missing and invalid",
                "Share of a column's rows without a value, or with one of another type.",
                "percentunit",
                span=THIRD,
            ),
            Query(f"topk(10, {of_column('missing_ratio')})", "{{branch}} {{column}} missing"),
            Query(f"topk(10, {of_column('invalid_ratio')})", "{{branch}} {{column}} invalid"),
        ),
        lines(
            About(
                "Beyond the reference",
                "Share of a column's rows outside the reference's range, or"
                " with a value unknown to it.",
                "percentunit",
                span=THIRD,
            ),
            Query(
                f"topk(10, {of_column('out_of_range_ratio')})", "{{branch}} {{column}} out of range"
            ),
            Query(f"topk(10, {of_column('new_category_ratio')})", "{{branch}} {{column}} new"),
        ),
    ]
