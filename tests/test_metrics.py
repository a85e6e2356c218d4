"""Every series is there at 0 before anything happens, under a name that says its unit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.samples import Sample

import gateway
from gateway.metrics import (
    COPIES,
    DROPPED_COPIES,
    KEEPERS,
    PUSHES,
    RELOADS,
    STATUSES,
    WORKER_EXITS,
    Metrics,
)
from gateway.names import Branch

UNITS = {"requests", "seconds", "rows", "columns", "ratio", "bytes", "lines", "workers", "exits"}
UNITS |= {
    "connections",
    "reloads",
    "pushes",
    "polls",
    "webhooks",
    "changes",
    "restarts",
    "chunks",
    "items",
    "info",
    "files",
    "ejections",
    "attempts",
    "differences",
    "builds",
    "environments",
}
#: Figures without a unit, by their own names.
UNITS |= {"psi", "p", "sd", "tolerance", "severity", "e"}
#: What is counted of an experiment.
UNITS |= {"units", "events", "joined"}
#: States, 0 or 1.
UNITS |= {
    "drifted",
    "ready",
    "quarantined",
    "accelerated",
    "contained",
    "ejected",
    "waiting",
    "trouble",
    "diverted",
    "held",
    "up",
    "leads",
    "paused",
    "replicas",
    "status",
    "breached",
    "mismatch",
    "refused",
    "baseline",
}

#: There from the first window on.
DRIFT_OF_A_WINDOW = [
    "gateway_drift_severity",
    "gateway_drift_psi",
    "gateway_drift_psi_null",
    "gateway_drift_tolerance",
    "gateway_drift_p",
    "gateway_drift_missing_ratio",
    "gateway_drift_invalid_ratio",
    "gateway_drift_out_of_range_ratio",
    "gateway_drift_new_category_ratio",
    "gateway_drift_mean_shift_sd",
    "gateway_drift_drifted",
    "gateway_drift_branch_severity",
    "gateway_drift_window_end_timestamp_seconds",
    "gateway_drift_p_threshold",
]

#: There from the first read-out on.
EXPERIMENT_OF_A_CONTRAST = [
    "gateway_experiment_status",
    "gateway_experiment_relative_lift_ratio",
    "gateway_experiment_relative_lift_low_ratio",
    "gateway_experiment_relative_lift_high_ratio",
    "gateway_experiment_p",
    "gateway_experiment_log_e_value",
    "gateway_experiment_expected_seconds",
    "gateway_experiment_events",
    "gateway_experiment_units",
    "gateway_experiment_guardrail_log_e_value",
    "gateway_experiment_guardrail_breached",
    "gateway_experiment_sample_ratio_mismatch",
    "gateway_experiment_written_timestamp_seconds",
]

#: There with `redis`, from the monitor's first words on.
SHARED_BY_REPLICAS = [
    "gateway_shared_up",
    "gateway_shared_leads",
    "gateway_shared_chunks_waiting",
    "gateway_shared_bytes",
    "gateway_shared_paused",
    "gateway_replicas",
    "gateway_replica_differences",
]

#: There from the first scrape of a gateway on; those of processes from its first look at them.
KNOWN_WHEN_ASKED = [
    "gateway_ready",
    "gateway_config_refused",
    "gateway_monitor_up",
    "gateway_experiments_up",
    "gateway_queue_limit_rows",
    "gateway_journal_limit_bytes",
    "gateway_flush_interval_seconds",
    "gateway_oldest_chunk_age_seconds",
    "gateway_shared_limit_bytes",
    "gateway_branch_baseline",
    "gateway_worker_memory_limit_bytes",
    "gateway_open_files",
    "gateway_open_files_limit",
    "gateway_state_dir_free_bytes",
    "gateway_state_dir_size_bytes",
    "gateway_process_resident_bytes",
    "gateway_process_cpu_seconds",
    "gateway_worker_resident_bytes",
    "gateway_worker_memory_bytes",
    "gateway_worker_cpu_seconds",
]
STARTED = "gateway_start_timestamp_seconds"


def samples(metrics: Metrics) -> Iterator[Sample]:
    for family in metrics.registry.collect():
        yield from family.samples


def test_every_label_child_of_a_branch_is_there_at_0() -> None:
    metrics = Metrics()
    metrics.branch(Branch("prod"))
    found = {(s.name, *sorted(s.labels.items())): s.value for s in samples(metrics)}

    def value(name: str, **labels: str) -> float:
        return found[name, *sorted({"branch": "prod", **labels}.items())]

    for status in STATUSES:
        assert value("gateway_requests_total", status=status) == 0
    for result in RELOADS:
        assert value("gateway_reloads_total", result=result) == 0
    for reason in WORKER_EXITS:
        assert value("gateway_worker_exits_total", reason=reason) == 0
    for result in PUSHES:
        assert value("gateway_pushes_total", result=result) == 0
    families = [f for f in metrics.registry.collect() if f.name != "gateway_branch_info"]
    for status in COPIES:
        assert value("gateway_shadow_requests_total", status=status) == 0
    for reason in DROPPED_COPIES:
        assert value("gateway_shadow_dropped_rows_total", reason=reason) == 0
    # But for what nothing was compared, measured or shared for, and what is seen only later, every
    # family has its children.
    assert [f.name for f in families if not f.samples] == [
        "gateway_shadow_compared_rows",
        "gateway_shadow_agreement_ratio",
        "gateway_shadow_score_difference_ratio",
        "gateway_branch_contained",
        *DRIFT_OF_A_WINDOW,
        *EXPERIMENT_OF_A_CONTRAST,
        *SHARED_BY_REPLICAS,
        *KNOWN_WHEN_ASKED,
    ]
    # Which version runs since when is known at once.
    counted = [f for f in families if f.name not in {"gateway_build_info", STARTED}]
    assert {s.value for f in counted for s in f.samples if not s.name.endswith("_created")} == {0}


def test_every_name_begins_with_gateway_and_ends_with_its_unit() -> None:
    for family in Metrics().registry.collect():
        parts = family.name.split("_")
        assert parts[0] == "gateway", family.name
        assert re.fullmatch(r"[a-z_]+", family.name)
        assert UNITS & set(parts[1:]), f"{family.name}: of what?"
        assert family.documentation.endswith(".")
        if "duration" in parts:
            assert parts[-1] == "seconds"


def test_only_the_info_metric_has_a_label_that_grows_with_commits() -> None:
    metrics = Metrics()
    metrics.branch(Branch("prod")).show_serving("a" * 40, "b" * 32)
    metrics.shadow_agreement.labels("dev", "prod")
    names = {s.name for s in samples(metrics) if {"commit", "fingerprint"} & s.labels.keys()}
    assert names == {"gateway_branch_info"}
    bounded = {"branch", "status", "result", "reason", "keeper", "le", "commit", "fingerprint"}
    bounded |= {"cache", "served", "severity", "state", "version", "process", "layer"}
    assert {label for s in samples(metrics) for label in s.labels} <= bounded


def test_the_info_metric_moves_and_leaves_nothing_behind() -> None:
    metrics = Metrics()
    prod, exp = metrics.branch(Branch("prod")), metrics.branch(Branch("exp"))
    prod.show_serving("a" * 40, "1" * 32)
    exp.show_serving("a" * 40, "1" * 32)
    prod.show_serving("b" * 40, "1" * 32)
    prod.show_serving("b" * 40, "1" * 32)
    shown = {
        (s.labels["branch"], s.labels["commit"][0], s.value)
        for s in samples(metrics)
        if s.name == "gateway_branch_info"
    }
    assert shown == {("prod", "b", 1.0), ("exp", "a", 1.0)}


def test_a_branch_of_any_name_is_one_line_of_the_exposition() -> None:
    metrics = Metrics()
    metrics.branch(Branch('team/"é"')).requests["ok"].inc()
    body, content_type = metrics.render()
    assert b'gateway_requests_total{branch="team/\\"\xc3\xa9\\"",status="ok"} 1.0\n' in body
    assert "text/plain" in content_type


def test_what_ends_after_its_branch_was_taken_out_brings_no_series_back() -> None:
    metrics = Metrics()
    metrics.branch(Branch("prod"))
    held = metrics.branch(Branch("exp"))
    metrics.keep([Branch("prod")])
    metrics.branch(Branch("exp")).pushes["pushed"].inc()
    held.show_serving("c" * 40, "f")
    assert {s.labels["branch"] for s in samples(metrics) if "branch" in s.labels} == {"prod"}
    metrics.welcome([Branch("prod"), Branch("exp")])
    metrics.branch(Branch("exp")).pushes["pushed"].inc()
    found = {
        s.labels["branch"]: s.value
        for s in samples(metrics)
        if s.name == "gateway_pushes_total" and s.labels["result"] == "pushed"
    }
    assert found == {"prod": 0, "exp": 1}


def test_the_restarts_of_each_keeper_that_the_front_starts_are_there_at_0() -> None:
    house = Path(gateway.__file__).parent
    wires = (house / "app.py").read_text() + (house / "answering.py").read_text()
    started = re.findall(r'self\._keepers\.start\("(\w+)"', wires)
    started += re.findall(r'"(\w+)": [\w.]+\.run\b', wires)
    assert sorted(started) == sorted(KEEPERS)
    found = {s.labels["keeper"] for s in samples(Metrics()) if "keeper" in s.labels}
    assert found == set(KEEPERS)


def test_two_fronts_in_one_process_do_not_share_a_series() -> None:
    first, second = Metrics(), Metrics()
    first.branch(Branch("prod")).rows.inc()
    second.branch(Branch("prod"))
    assert {s.value for s in samples(second) if s.name == "gateway_rows_total"} == {0}
