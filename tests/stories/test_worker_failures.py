"""Could not start, died, too slow: three things, each with its own metric and reaction."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

#: Waits for the file that a row names, dies on a row that says so, else answers "exp".
CODE = """
import os, pathlib, signal, time
ROW_WISE = True
def predict(model, instances):
    for row in instances:
        if row[0] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(row[0], str):
            gate = pathlib.Path(row[0])
            gate.with_suffix(".begun").touch()
            while not gate.exists():
                time.sleep(0.002)
    return ["exp" for _ in instances]
"""
REASONS = ("retired", "not_started", "died", "too_slow")


def exits(gateway: Gateway, branch: str = "exp") -> dict[str, float]:
    """The worker exits of a branch that there were at all."""
    name = "gateway_worker_exits_total"
    found = {r: gateway.metric(f'{name}{{branch="{branch}",reason="{r}"}}') for r in REASONS}
    return {reason: value for reason, value in found.items() if value}


def requests(gateway: Gateway, status: str) -> float:
    return gateway.metric(f'gateway_requests_total{{branch="exp",status="{status}"}}')


def start(folder: Path, remote: Remote, gateways: list[Gateway], **exp: Any) -> Gateway:
    """All users are exp's; prod is the baseline."""
    remote.commit("prod", serve_py("good"))
    remote.commit("exp", {"src/serve.py": CODE}, start="prod")
    branches = {"prod": {"weight": 0}, "exp": {"weight": 1, **exp}}
    gateway = Gateway(folder / "g", remote, branches, sandbox="off")  # rows are files to wait for
    gateways.append(gateway)
    return gateway.start()


def answered_by(gateway: Gateway, value: object, user: str = "u") -> str:
    branch: str = gateway.predict([[value]], user).json()["branch"]
    return branch


def test_what_cannot_start_is_quarantined_and_not_tried_again_until_the_ref_moves(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path, remote, gateways)
    remote.commit("exp", {"src/serve.py": "raise SystemExit(3)\n"})
    quarantined = 'gateway_branch_quarantined{branch="exp"}'
    wait_until(lambda: gateway.metric(quarantined) == 1, describe=gateway.words)
    polls = gateway.metric('gateway_polls_total{result="ok"}')
    wait_until(lambda: gateway.metric('gateway_polls_total{result="ok"}') > polls + 3)
    assert exits(gateway) == {"not_started": 1}
    assert gateway.metric('gateway_reloads_total{branch="exp",result="quarantined"}') == 1
    assert answered_by(gateway, 1) == "exp"  # by the old one
    fixed = remote.commit("exp", {"src/serve.py": CODE + "# mended\n"})
    wait_until(lambda: gateway.serving("exp") == fixed, describe=gateway.words)
    wait_until(lambda: exits(gateway) == {"not_started": 1, "retired": 1})


def test_a_worker_that_died_is_replaced_and_what_it_had_is_answered_by_the_next(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path, remote, gateways, timeout="60s")
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(answered_by, gateway, str(gate))]
        wait_until(gate.with_suffix(".begun").exists)
        asked += [pool.submit(answered_by, gateway, 1) for _ in range(5)]
        wait_until(lambda: gateway.metric('gateway_queue_rows{branch="exp"}') == 5)
        (worker,) = gateway.branch("exp")["workers"]
        os.kill(worker["pid"], signal.SIGKILL)  # from outside, as for want of memory
        wait_until(lambda: exits(gateway) == {"died": 1}, describe=gateway.words)
        gate.touch()
        assert {future.result() for future in asked} == {"exp"}
    (next_worker,) = gateway.branch("exp")["workers"]
    assert next_worker["pid"] != worker["pid"]
    assert requests(gateway, "ok") == 6
    assert gateway.metric('gateway_branch_ejected{branch="exp"}') == 0


def test_of_a_batch_that_killed_its_worker_each_is_run_alone_and_only_the_culprit_falls_back(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path, remote, gateways, timeout="60s")
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(16) as pool:
        held = pool.submit(answered_by, gateway, str(gate))
        wait_until(gate.with_suffix(".begun").exists)
        values: list[object] = [1, 2, 3, "kill", 5, 6, 7, 8]
        asked = [pool.submit(answered_by, gateway, value, f"user-{value}") for value in values]
        wait_until(lambda: gateway.metric('gateway_queue_rows{branch="exp"}') == 8)
        gate.touch()  # and the eight are one frame
        answers = [future.result() for future in asked]
        assert answers == ["prod" if value == "kill" else "exp" for value in values]
        assert held.result() == "exp"
    assert exits(gateway) == {"died": 2}  # in the batch, and alone
    assert (requests(gateway, "ok"), requests(gateway, "fallback_error")) == (8, 1)
    wait_until(lambda: gateway.branch("exp")["state"] == "ready")
    assert gateway.branch("exp")["ejected"] is None


def test_a_worker_that_is_too_slow_costs_its_callers_the_timeout_and_is_replaced(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path, remote, gateways, timeout="3s")
    assert answered_by(gateway, 1) == "exp"
    (worker,) = gateway.branch("exp")["workers"]
    assert answered_by(gateway, str(tmp_path / "never")) == "prod"
    assert requests(gateway, "fallback_timeout") == 1
    assert exits(gateway) == {}  # it may yet answer
    wait_until(lambda: exits(gateway) == {"too_slow": 1}, 90.0, gateway.words)
    wait_until(lambda: gateway.branch("exp")["state"] == "ready", describe=gateway.words)
    (next_worker,) = gateway.branch("exp")["workers"]
    assert next_worker["pid"] != worker["pid"]
    assert answered_by(gateway, 1) == "exp"


def test_a_branch_that_takes_too_much_memory_is_told_so_and_the_others_go_on(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path, remote, gateways, memory="150MiB")
    greedy = "def predict(model, rows): return [len(bytearray(row[0] << 20)) for row in rows]\n"
    tip = remote.commit("exp", {"src/serve.py": greedy})
    wait_until(lambda: gateway.serving("exp") == tip, describe=gateway.words)
    assert answered_by(gateway, 500) == "prod"
    assert answered_by(gateway, 1) == "exp"
    wait_until(lambda: exits(gateway) == {"retired": 1}, describe=lambda: exits(gateway))
    remote.commit("exp", {"src/serve.py": "HELD = bytearray(300 << 20)\n" + greedy})
    quarantined = 'gateway_branch_quarantined{branch="exp"}'
    wait_until(lambda: gateway.metric(quarantined) == 1, describe=gateway.words)
    assert "a worker may have 150MiB of memory" in gateway.branch("exp")["reason"]
    assert answered_by(gateway, 1) == "exp"
