"""What the gateway takes of its machine is in its metrics, and follows the processes."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from exposition import samples
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

from gateway.machine_metrics import Standing
from gateway.metrics import Metrics
from gateway.names import Branch
from gateway.vitals import Holders, Vitals

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")

PROD = Branch("prod")
#: Takes 64 MiB and some processor time, says so, and waits.
WORKER = """
import sys
held = bytearray(64 * 2**20)
end = sum(range(3_000_000))
print("so", flush=True)
sys.stdin.read()
"""


@contextmanager
def worker() -> Iterator[int]:
    child = subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == b"so\n"
    yield child.pid
    child.stdin.close()
    child.wait(60)
    child.stdout.close()


def shown(
    metrics: Metrics, vitals: Vitals, prefix: str = "gateway_worker_"
) -> dict[tuple[str, ...], float]:
    """What is in the metrics after one look."""
    metrics.machine.machine = vitals.look(vitals.holders())
    return samples(metrics, prefix, without=prefix)


def vitals_of(
    metrics: Metrics, folder: Path, workers: Callable[[], dict[Branch, list[int]]]
) -> Vitals:
    metrics.branch(PROD)
    return Vitals(metrics, folder, lambda: Holders({"front": [os.getpid()]}, workers()))


def test_memory_and_processor_time_of_workers_are_summed_and_the_largest_is_shown(
    tmp_path: Path,
) -> None:
    metrics = Metrics()
    with worker() as one, worker() as other:
        vitals = vitals_of(metrics, tmp_path, lambda: {PROD: [one, other]})
        found = shown(metrics, vitals)
    assert found["resident_bytes", "prod"] > 2 * 64 * 2**20
    assert 64 * 2**20 < found["memory_bytes", "prod"] < found["resident_bytes", "prod"]
    assert found["cpu_seconds_total", "prod"] > 0


def test_processor_time_goes_on_when_a_worker_ends_and_another_comes(tmp_path: Path) -> None:
    metrics = Metrics()
    there: list[int] = []
    vitals = vitals_of(metrics, tmp_path, lambda: {PROD: list(there)})
    spent = []
    for _ in range(2):
        with worker() as pid:
            there[:] = [pid]
            spent.append(shown(metrics, vitals)["cpu_seconds_total", "prod"])
            # The same process twice is counted once.
            assert shown(metrics, vitals)["cpu_seconds_total", "prod"] < spent[-1] * 1.5
        found = shown(metrics, vitals)  # it has ended
        assert (found["resident_bytes", "prod"], found["memory_bytes", "prod"]) == (0, 0)
        assert found["cpu_seconds_total", "prod"] >= spent[-1]
    assert spent[1] > spent[0] > 0


def test_a_spare_takes_its_past_with_it_to_nobody(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.branch(PROD)
    holders = {"spares": True}
    with worker() as pid:

        def now() -> Holders:
            if holders["spares"]:
                return Holders({"spares": [pid]}, {PROD: []})
            return Holders({"spares": []}, {PROD: [pid]})

        vitals = Vitals(metrics, tmp_path, now)
        before = shown(metrics, vitals, "gateway_process_")["cpu_seconds_total", "spares"]
        holders["spares"] = False
        after = shown(metrics, vitals)["cpu_seconds_total", "prod"]
        assert shown(metrics, vitals, "gateway_process_")["cpu_seconds_total", "spares"] == before
    assert after < before


def test_a_branch_that_was_taken_out_has_no_series_left(tmp_path: Path) -> None:
    metrics = Metrics()
    vitals = vitals_of(metrics, tmp_path, lambda: {PROD: [os.getpid()]})
    metrics.machine.standing = standing(memory={PROD: 2**30})
    assert ("memory_limit_bytes", "prod") in shown(metrics, vitals)
    metrics.keep([])
    assert shown(metrics, vitals) == {}
    assert samples(metrics, "gateway_branch_baseline") == {}


def standing(**changes: Any) -> Standing:
    plain = Standing(PROD, True, False, True, True, 4096, 2**30, 900.0, None)
    return dataclasses.replace(plain, **changes)


def test_what_waits_is_as_old_as_the_oldest_chunk_and_nothing_is_not_old() -> None:
    metrics = Metrics()
    for oldest, age in ((None, 0), (time.time() - 3600, pytest.approx(3600, abs=60))):
        metrics.machine.standing = standing(oldest_chunk=oldest)
        assert samples(metrics, "gateway_oldest_chunk_age")["oldest_chunk_age_seconds",] == age


def test_a_real_gateway_says_what_it_takes_and_what_bounds_it(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("prod"))
    remote.commit("exp", serve_py("exp"), start="prod")
    branches: dict[str, Any] = {"prod": {"weight": 1, "memory": "512MiB"}, "exp": {"weight": 1}}
    settings: dict[str, Any] = {
        "limits": {"queue_rows": 77},
        "monitoring": {"journal_bytes": "3MiB"},
    }
    gateway = Gateway(tmp_path / "g", remote, branches, **settings)
    gateways.append(gateway)
    gateway.start()
    assert gateway.metric("gateway_ready") == 1
    assert gateway.metric('gateway_branch_baseline{branch="prod"}') == 1
    assert gateway.metric('gateway_branch_baseline{branch="exp"}') == 0
    assert gateway.metric("gateway_queue_limit_rows") == 77
    assert gateway.metric("gateway_journal_limit_bytes") == 3 * 2**20
    assert gateway.metric('gateway_worker_memory_limit_bytes{branch="prod"}') == 2**29
    assert 'memory_limit_bytes{branch="exp"}' not in gateway.get("/metrics").text
    assert (
        0
        < gateway.metric("gateway_state_dir_free_bytes")
        <= gateway.metric("gateway_state_dir_size_bytes")
    )
    assert 0 < gateway.metric("gateway_open_files") < gateway.metric("gateway_open_files_limit")

    def seen() -> bool:
        text = gateway.get("/metrics").text
        wanted = ('worker_resident_bytes{branch="exp"}', 'resident_bytes{process="monitor"}')
        return all(name in text for name in wanted) and (
            gateway.metric('gateway_worker_memory_bytes{branch="prod"}') > 2**20
        )

    wait_until(seen, describe=gateway.words)
    assert gateway.metric('gateway_process_resident_bytes{process="front"}') > 2**20
    assert gateway.metric("gateway_loop_lag_seconds_count") > 0
    assert gateway.metric("gateway_monitor_up") == 1
    monitor = int(gateway.get("/branches").json()["recording"]["monitor_pid"])
    before = gateway.metric('gateway_keeper_restarts_total{keeper="monitor"}')
    os.kill(monitor, signal.SIGKILL)
    restarts = 'gateway_keeper_restarts_total{keeper="monitor"}'
    wait_until(lambda: gateway.metric(restarts) > before, describe=gateway.words)
    wait_until(lambda: gateway.metric("gateway_monitor_up") == 1, describe=gateway.words)
    assert gateway.metric("gateway_config_refused") == 0
    gateway.write(baseline="nobody")
    wait_until(lambda: gateway.metric("gateway_config_refused") == 1, describe=gateway.words)
    assert gateway.metric("gateway_ready") == 1
