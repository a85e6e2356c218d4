"""The dashboard Overview: are users answered, how fast, and by whom."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import (
    BRANCH,
    GREEN,
    HALF,
    JOB,
    RATE,
    RED,
    SIXTH,
    THIRD,
    YELLOW,
    About,
    Drawn,
    Query,
    bars,
    dashboard,
    figure,
    filled,
    lines,
    rows,
    spread,
    words,
    yes_no,
)

#: What nobody answered.
FAILED = 'status=~"error|timeout|overload"'
FELL_BACK = 'status=~"fallback_.*"'
#: How long an answer may take, and which share of them may take longer or fail.
SLOW, MOST_SLOW, MOST_FAILED = 0.25, 0.01, 0.001
STATES = {
    "0": ("serves", GREEN),
    "1": ("serves; newest commit refused", YELLOW),
    "2": ("ejected", RED),
    "3": ("ejected; newest commit refused", RED),
    "4": ("not loaded", RED),
    "5": ("not loaded; newest commit refused", RED),
    "6": ("not loaded", RED),
    "7": ("not loaded; newest commit refused", RED),
}


def overview() -> Dashboard:
    """The dashboard, not yet written."""
    page = dashboard("gateway-overview", "Overview", "Rate, errors and duration, by branch.")
    return filled(
        page,
        {
            "": _at_a_glance(),
            "Rate, errors, duration": [*_rates(), *_latencies()],
            "Branches": _branches(),
            "Budgets": _budgets(),
        },
    )


def ratio(status: str, by: str = "") -> str:
    """Which share of the requests ended so."""
    grouped = f"sum by ({by})" if by else "sum"
    return (
        f"{grouped} (rate(gateway_requests_total{{{BRANCH}, {status}}}{RATE}))"
        f" / {grouped} (rate(gateway_requests_total{{{BRANCH}}}{RATE}))"
    )


def quantile(share: float, by: str = "") -> str:
    """That quantile of the time to an answer, by the branch that answered."""
    labels = f"{by}, le" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({labels})"
        f" (rate(gateway_request_duration_seconds_bucket{{{BRANCH}}}{RATE})))"
    )


def _at_a_glance() -> list[Drawn]:
    rate = f"sum(rate(gateway_requests_total{{{BRANCH}}}{RATE}))"
    spent = (
        f"sum(increase(gateway_requests_total{{{JOB}, {FAILED}}}[30d]))"
        f" / sum(increase(gateway_requests_total{{{JOB}}}[30d]))"
    )
    return [
        figure(
            About("Requests", "Requests a second, however they ended.", "reqps"),
            Query(rate, "requests"),
        ),
        figure(
            About(
                "Failed",
                "Share of the requests that nobody answered: error, timeout, overload."
                " A fallback is an answer.",
                "percentunit",
                steps=(MOST_FAILED, 0.0144),
            ),
            Query(ratio(FAILED), "failed"),
        ),
        figure(
            About(
                "Latency",
                "Time within which 99 % of the requests are answered.",
                "s",
                steps=(SLOW, 1.0),
            ),
            Query(quantile(0.99), "99 %"),
        ),
        figure(
            About(
                "Ready",
                "Share of the gateways whose /readyz says ready.",
                "percentunit",
                steps=(1.0, 0.5),
                falling=True,
            ),
            Query(f"avg(gateway_ready{{{JOB}}})", "ready"),
        ),
        figure(
            About(
                "Budget left",
                f"What is left of the {MOST_FAILED:.1%} of a month's requests that may fail.",
                "percentunit",
                steps=(0.25, 0.0),
                falling=True,
            ),
            Query(f"1 - ({spent}) / {MOST_FAILED}", "left"),
        ),
        figure(
            About(
                "Alerts",
                "Alerts that fire now; deploy/runbook.md has a page for each.",
                "none",
                steps=(1, 5),
            ),
            Query(f'count(ALERTS{{{JOB}, alertstate="firing"}}) or vector(0)', "alerts"),
        ),
    ]


def _rates() -> list[Drawn]:
    return [
        lines(
            About("Requests by branch", "Requests a second by assigned branch.", "reqps"),
            Query(
                f"sum by (branch) (rate(gateway_requests_total{{{BRANCH}}}{RATE}))", "{{branch}}"
            ),
            stacked=True,
        ),
        lines(
            About(
                "Requests by ending",
                "Requests a second by how they ended: ok, a fallback to the"
                " baseline, invalid (the caller's mistake), or not answered.",
                "reqps",
            ),
            Query(
                f"sum by (status) (rate(gateway_requests_total{{{BRANCH}}}{RATE}))", "{{status}}"
            ),
            stacked=True,
        ),
        lines(
            About(
                "Failed requests by branch",
                "Share of a branch's requests that nobody answered.",
                "percentunit",
                steps=(MOST_FAILED, None),
            ),
            Query(ratio(FAILED, "branch"), "{{branch}}"),
        ),
        lines(
            About(
                "Fallbacks by branch",
                "Share of a branch's requests that the baseline answered in its place.",
                "percentunit",
                steps=(0.05, None),
            ),
            Query(ratio(FELL_BACK, "branch"), "{{branch}}"),
        ),
    ]


def _latencies() -> list[Drawn]:
    buckets = f"sum by (le) (increase(gateway_request_duration_seconds_bucket{{{BRANCH}}}{RATE}))"
    return [
        lines(
            About(
                "Latency by branch",
                "Time within which half and 99 % of the requests are answered,"
                " by the branch that answered.",
                "s",
                steps=(SLOW, None),
            ),
            Query(quantile(0.5, "branch"), "{{branch}} 50 %"),
            Query(quantile(0.99, "branch"), "{{branch}} 99 %"),
        ),
        spread(
            About("Latency, all answers", "How many answers took how long.", "s"), Query(buckets)
        ),
    ]


def _branches() -> list[Drawn]:
    def worst(name: str) -> str:
        return f"max by (branch) (gateway_branch_{name}{{{BRANCH}}})"

    state = f"{worst('quarantined')} + 2 * {worst('ejected')} + 4 * (1 - {worst('ready')})"
    table = {
        "Content": Query(f"count by (branch, commit) (gateway_branch_info{{{BRANCH}}})"),
        "Weight": Query(worst("weight_ratio")),
        "Baseline": Query(worst("baseline")),
        "Loaded": Query(f"min by (branch) (gateway_branch_ready{{{BRANCH}}})"),
        "Ejected": Query(worst("ejected")),
        "Newest commit": Query(worst("quarantined")),
    }
    looks: dict[str, dict[str, object]] = {
        "Content": {"displayName": "Gateways", "unit": "none"},
        "Weight": {"unit": "percentunit"},
        "Baseline": {"unit": "bool_yes_no"},
        "Loaded": {"unit": "bool_yes_no"},
        "Ejected": yes_no("ejected", "no"),
        "Newest commit": yes_no("refused", "good"),
    }
    return [
        rows(
            About(
                "Who serves what",
                "Each branch's commit, and how many gateways serve it. Two rows of"
                " one branch: gateways differ.",
                "none",
                span=HALF + SIXTH,
                height=9,
            ),
            ("branch", "commit"),
            table,
            looks,
        ),
        bars(
            About(
                "Weights",
                "Share of the users, as in force now.",
                "percentunit",
                span=THIRD,
                height=9,
            ),
            Query(worst("weight_ratio"), "{{branch}}"),
            most=1,
        ),
        words(
            About("States", "What each branch was doing.", "none"),
            STATES,
            Query(state, "{{branch}}"),
        ),
        lines(
            About(
                "Weights over time",
                "Share of the users: ramps, ejections, changed settings.",
                "percentunit",
            ),
            Query(worst("weight_ratio"), "{{branch}}"),
            stacked=True,
        ),
    ]


def _budgets() -> list[Drawn]:
    def burns(kind: str, allowed: float) -> list[Query]:
        windows = ("5m", "1h", "6h")
        recorded = f"job:gateway_{kind}_requests:ratio_rate"
        return [Query(f"{recorded}{w}{{{JOB}}} / {allowed}", f"{w}") for w in windows]

    refused = f"sum by (reason) (rate(gateway_refused_requests_total{{{JOB}}}{RATE}))"
    burn = "How many times too fast the month's allowance is used up, over three windows."
    return [
        lines(
            About(
                "Burn rate of failed requests",
                burn + " Alerts are at 6 and 14.4.",
                "none",
                span=THIRD,
                steps=(6, 14.4),
            ),
            *burns("failed", MOST_FAILED),
        ),
        lines(
            About(
                "Burn rate of slow answers",
                burn + f" Slow is beyond {SLOW:g} s.",
                "none",
                span=THIRD,
                steps=(6, 14.4),
            ),
            *burns("slow", MOST_SLOW),
        ),
        lines(
            About(
                "Refused before any branch",
                "Requests that were too large, unreadable, slow or"
                " malformed, or one connection too many.",
                "reqps",
                span=THIRD,
            ),
            Query(refused, "{{reason}}"),
            stacked=True,
        ),
    ]
