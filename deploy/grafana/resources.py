"""The dashboard Resources: of each, how much is used, what waits for it, and what failed."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import (
    BRANCH,
    JOB,
    QUARTER,
    RATE,
    THIRD,
    About,
    Drawn,
    Query,
    choice,
    dashboard,
    figure,
    filled,
    lines,
)

ONE = f'{JOB}, instance=~"$instance"'
ONE_BRANCH = f'{BRANCH}, instance=~"$instance"'
AT = "{{instance}}"


def resources() -> Dashboard:
    """The dashboard, not yet written."""
    page = dashboard(
        "gateway-resources",
        "Resources",
        "Utilisation, saturation and errors of what the gateway needs, each with its bound.",
        choice("instance", "Instance", 'label_values(gateway_build_info{job=~"$job"}, instance)'),
    )
    return filled(
        page,
        {
            "": _at_a_glance(),
            "Processors and memory": _processes(),
            "Waiting": _waiting(),
            "Journal and disk": _disk(),
            "Repository and monitor": _monitor(),
            "Redis, where replicas share one": _redis(),
        },
    )


def part(used: str, most: str) -> str:
    """How much of its bound is used, at the instance that is nearest to it."""
    return f"max(gateway_{used}{{{ONE}}} / gateway_{most}{{{ONE}}})"


def rate(metric: str, by: str) -> str:
    """A second, by a label."""
    return f"sum by (instance, {by}) (rate({metric}{{{ONE}}}{RATE}))"


def _at_a_glance() -> list[Drawn]:
    queue = (
        f"max(gateway_queue_rows{{{ONE_BRANCH}}}"
        f" / on (job, instance) group_left () gateway_queue_limit_rows{{{ONE}}})"
    )
    lag = f"sum by (le) (rate(gateway_loop_lag_seconds_bucket{{{ONE}}}{RATE}))"
    return [
        figure(
            About("Queue", "The fullest queue, of its bound.", "percentunit", steps=(0.5, 0.8)),
            Query(queue, "full"),
        ),
        figure(
            About("Journal", "The fullest journal, of its bound.", "percentunit", steps=(0.5, 0.8)),
            Query(part("journal_bytes", "journal_limit_bytes"), "full"),
        ),
        figure(
            About(
                "Disk left",
                "Room on the disk of state_dir, where it is least.",
                "percentunit",
                steps=(0.2, 0.1),
                falling=True,
            ),
            Query(
                f"min(gateway_state_dir_free_bytes{{{ONE}}}"
                f" / gateway_state_dir_size_bytes{{{ONE}}})",
                "left",
            ),
        ),
        figure(
            About(
                "Files",
                "Open files and connections, of the bound.",
                "percentunit",
                steps=(0.7, 0.9),
            ),
            Query(part("open_files", "open_files_limit"), "open"),
        ),
        figure(
            About(
                "Loop lag",
                "How late the front comes to its work, 99 % of the time at most.",
                "s",
                steps=(0.05, 0.1),
            ),
            Query(f"histogram_quantile(0.99, {lag})", "late"),
        ),
        figure(
            About("Not published since", "Age of the oldest rows that are not in git.", "s"),
            Query(f"max(gateway_oldest_chunk_age_seconds{{{ONE}}})", "age"),
        ),
    ]


def _processes() -> list[Drawn]:
    spent = f"sum by (branch) (rate(gateway_worker_cpu_seconds_total{{{ONE_BRANCH}}}{RATE}))"
    own = f"max by (branch) (gateway_worker_memory_bytes{{{ONE_BRANCH}}})"
    most = f"min by (branch) (gateway_worker_memory_limit_bytes{{{ONE_BRANCH}}})"
    return [
        lines(
            About(
                "Processors, by branch",
                "Processors that a branch's workers keep busy.",
                "none",
                span=QUARTER,
            ),
            Query(spent, "{{branch}}"),
            stacked=True,
        ),
        lines(
            About(
                "Processors, others",
                "The front, the monitor, and spare workers.",
                "none",
                span=QUARTER,
            ),
            Query(rate("gateway_process_cpu_seconds_total", "process"), f"{AT} {{{{process}}}}"),
        ),
        lines(
            About("Memory of workers", "Of a branch's workers together.", "bytes", span=QUARTER),
            Query(f"sum by (branch) (gateway_worker_resident_bytes{{{ONE_BRANCH}}})", "{{branch}}"),
            stacked=True,
        ),
        lines(
            About(
                "Memory of others",
                "The front, the monitor, and spare workers.",
                "bytes",
                span=QUARTER,
            ),
            Query(
                f"sum by (instance, process) (gateway_process_resident_bytes{{{ONE}}})",
                f"{AT} {{{{process}}}}",
            ),
        ),
        lines(
            About(
                "Largest worker and its bound",
                "Memory of its own of a branch's largest worker, beside"
                " `memory` or limits.worker_memory, where there is one.",
                "bytes",
                span=THIRD,
            ),
            Query(own, "{{branch}}"),
            Query(most, "{{branch}} at most"),
        ),
        lines(
            About("Ended workers", "By themselves, or killed as too slow.", "none", span=THIRD),
            Query(
                "sum by (branch, reason) (increase(gateway_worker_exits_total"
                f'{{{ONE_BRANCH}, reason=~"died|too_slow"}}{RATE}))',
                "{{branch}} {{reason}}",
            ),
        ),
        lines(
            About("Workers", "Loaded workers of a branch, and spares.", "none", span=THIRD),
            Query(f"sum by (branch) (gateway_workers{{{ONE_BRANCH}}})", "{{branch}}"),
            Query(f"sum(gateway_spare_workers{{{ONE}}})", "spares"),
        ),
    ]


def _waiting() -> list[Drawn]:
    lag = f"sum by (instance, le) (rate(gateway_loop_lag_seconds_bucket{{{ONE}}}{RATE}))"
    return [
        lines(
            About(
                "Rows waiting",
                "Rows waiting for a worker, and the bound: beyond it requests are"
                " answered by the baseline, or refused.",
                "none",
                span=THIRD,
            ),
            Query(f"max by (branch) (gateway_queue_rows{{{ONE_BRANCH}}})", "{{branch}}"),
            Query(f"min(gateway_queue_limit_rows{{{ONE}}})", "at most"),
        ),
        lines(
            About(
                "Too much or too late",
                "Requests that found no room, or no answer in time.",
                "reqps",
                span=THIRD,
            ),
            Query(
                "sum by (branch, status) (rate(gateway_requests_total"
                f'{{{ONE_BRANCH}, status=~".*(overload|timeout)"}}{RATE}))',
                "{{branch}} {{status}}",
            ),
        ),
        lines(
            About(
                "Loop lag",
                "How late the front's one loop comes to what is due: half the time, and"
                " 99 % of it, at most.",
                "s",
                span=THIRD,
                steps=(0.1, None),
            ),
            Query(f"histogram_quantile(0.5, {lag})", f"{AT} 50 %"),
            Query(f"histogram_quantile(0.99, {lag})", f"{AT} 99 %"),
        ),
        lines(
            About("Connections", "Open HTTP connections.", "none", span=THIRD),
            Query(f"sum by (instance) (gateway_connections{{{ONE}}})", AT),
        ),
        lines(
            About(
                "Open files",
                "Files and connections the front holds, and how many it may.",
                "none",
                span=THIRD,
            ),
            Query(f"sum by (instance) (gateway_open_files{{{ONE}}})", AT),
            Query(f"min(gateway_open_files_limit{{{ONE}}})", "at most"),
        ),
        lines(
            About("Refused", "Requests refused before any branch saw them.", "reqps", span=THIRD),
            Query(rate("gateway_refused_requests_total", "reason"), f"{AT} {{{{reason}}}}"),
        ),
    ]


def _disk() -> list[Drawn]:
    return [
        lines(
            About(
                "Journal",
                "Bytes not yet in git, and the bound: beyond it rows are answered and not"
                " recorded.",
                "bytes",
                span=QUARTER,
            ),
            Query(f"sum by (instance) (gateway_journal_bytes{{{ONE}}})", AT),
            Query(f"min(gateway_journal_limit_bytes{{{ONE}}})", "at most"),
        ),
        lines(
            About(
                "Rows not recorded",
                "Answered, and lost for drift, experiments and git.",
                "cps",
                span=QUARTER,
                steps=(None, 0.001),
            ),
            Query(
                f"sum by (instance) (rate(gateway_journal_dropped_rows_total{{{ONE}}}{RATE}))", AT
            ),
        ),
        lines(
            About(
                "Room on disk",
                "Free on the file system of state_dir, and its size.",
                "bytes",
                span=QUARTER,
            ),
            Query(f"min by (instance) (gateway_state_dir_free_bytes{{{ONE}}})", f"{AT} free"),
            Query(f"min by (instance) (gateway_state_dir_size_bytes{{{ONE}}})", f"{AT} size"),
        ),
        lines(
            About(
                "Git caches", "On disk; they are begun anew when they grow.", "bytes", span=QUARTER
            ),
            Query(
                f"sum by (instance, cache) (gateway_repository_cache_bytes{{{ONE}}})",
                f"{AT} {{{{cache}}}}",
            ),
        ),
    ]


def _monitor() -> list[Drawn]:
    restarts = f"sum by (instance, keeper) (increase(gateway_keeper_restarts_total{{{ONE}}}{RATE}))"
    return [
        lines(
            About("Polls", "Looks at the repository.", "ops", span=QUARTER),
            Query(rate("gateway_polls_total", "result"), f"{AT} {{{{result}}}}"),
            Query(f"sum by (instance) (gateway_repository_up{{{ONE}}})", f"{AT} answers"),
        ),
        lines(
            About(
                "Rows waiting for git",
                "Chunks that are not confirmed in git.",
                "none",
                span=QUARTER,
            ),
            Query(f"sum by (instance) (gateway_chunks_waiting{{{ONE}}})", AT),
        ),
        lines(
            About(
                "Age of the oldest",
                "Of rows that are not in git, beside four flushes.",
                "s",
                span=QUARTER,
            ),
            Query(f"max by (instance) (gateway_oldest_chunk_age_seconds{{{ONE}}})", AT),
            Query(f"4 * max(gateway_flush_interval_seconds{{{ONE}}})", "four flushes"),
        ),
        lines(
            About(
                "Restarts",
                "Of background tasks; and whether the monitor runs.",
                "none",
                span=QUARTER,
            ),
            Query(restarts, f"{AT} {{{{keeper}}}}"),
            Query(f"min by (instance) (gateway_monitor_up{{{ONE}}})", f"{AT} monitor runs"),
        ),
        lines(
            About("Webhooks", "Calls of the git server, by how they ended.", "ops", span=THIRD),
            Query(rate("gateway_webhooks_total", "result"), f"{AT} {{{{result}}}}"),
        ),
        lines(
            About("Settings", "Changes of gateway.yaml, by how they ended.", "none", span=THIRD),
            Query(
                "sum by (instance, result)"
                f" (increase(gateway_config_changes_total{{{ONE}}}{RATE}))",
                f"{AT} {{{{result}}}}",
            ),
            Query(f"max by (instance) (gateway_config_refused{{{ONE}}})", f"{AT} refused now"),
        ),
        lines(
            About("Up since", "Time since the front started.", "s", span=THIRD),
            Query(f"time() - max by (instance) (gateway_start_timestamp_seconds{{{ONE}}})", AT),
        ),
    ]


def _redis() -> list[Drawn]:
    return [
        lines(
            About(
                "Shares",
                "1 while a replica shares with the others, and while it leads.",
                "none",
                span=QUARTER,
            ),
            Query(f"min by (instance) (gateway_shared_up{{{ONE}}})", f"{AT} shares"),
            Query(f"max by (instance) (gateway_shared_leads{{{ONE}}})", f"{AT} leads"),
        ),
        lines(
            About(
                "In Redis",
                "Bytes that all replicas hold there, and the bound.",
                "bytes",
                span=QUARTER,
            ),
            Query(f"max(gateway_shared_bytes{{{ONE}}})", "held"),
            Query(f"min(gateway_shared_limit_bytes{{{ONE}}})", "at most"),
        ),
        lines(
            About(
                "Not yet in Redis",
                "Chunks of a replica that are not whole there; 1 while Redis is as"
                " full as it may be.",
                "none",
                span=QUARTER,
            ),
            Query(f"sum by (instance) (gateway_shared_chunks_waiting{{{ONE}}})", f"{AT} chunks"),
            Query(f"max by (instance) (gateway_shared_paused{{{ONE}}})", f"{AT} paused"),
        ),
        lines(
            About(
                "Replicas", "Replicas that are there, and where they differ.", "none", span=QUARTER
            ),
            Query(f"max by (instance) (gateway_replicas{{{ONE}}})", f"{AT} sees"),
            Query(f"max by (instance) (gateway_replica_differences{{{ONE}}})", f"{AT} differs in"),
        ),
    ]
