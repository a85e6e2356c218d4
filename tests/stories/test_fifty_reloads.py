"""Reload after reload under traffic: nobody notices, and nothing is left behind by any of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from gitrepo import Remote
from running import Gateway
from traffic import Traffic
from waiting import wait_until
from workers.fleets import alive

RELOADS = 50
SERVE = """
import statistics
def predict(model, instances):
    return [{0} for _ in instances]
"""


def descendants(pid: int) -> set[int]:
    """Every process below this one; git's, which come and go with each poll, are left out."""
    found: set[int] = set()
    gone = (FileNotFoundError, ProcessLookupError)
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(*gone):
            children += map(int, (task / "children").read_text().split())
    for child in children:
        with suppress(*gone):
            if b"python" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0]:
                found |= {child, *descendants(child)}
    return found


def known(gateway: Gateway) -> set[int]:
    """Every process that the gateway tells of: of the monitor, a worker and a spare."""
    status = gateway.get("/branches").json()
    workers = [*status["branches"]["prod"]["workers"], *status["spare_workers"]]
    return {status["recording"]["monitor_pid"], *(worker["pid"] for worker in workers)}


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident(pid: int) -> int:
    """Bytes of memory that the process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def is_calm(gateway: Gateway) -> bool:
    """One worker, one spare, and nothing on its way."""
    status = gateway.get("/branches").json()
    prod = status["branches"]["prod"]
    spares = [spare["state"] for spare in status["spare_workers"]]
    return len(prod["workers"]) == 1 and not prod["loading"] and spares == ["ready"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")
@pytest.mark.timeout(900)
def test_fifty_reloads_fail_no_request_and_leave_nothing_behind(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", {"src/serve.py": SERVE.format(0)})
    quiet = {"target": "none", "flush": "1h"}
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}}, monitoring=quiet)
    gateways.append(gateway)
    gateway.start()
    assert gateway.process is not None
    front = gateway.process.pid

    def reload(turn: int) -> None:
        commit = remote.commit("prod", {"src/serve.py": SERVE.format(turn)})
        wait_until(lambda: gateway.serving("prod") == commit, describe=gateway.words)
        traffic.more(4)  # more than are under way: its answer is among them

    with Traffic(gateway, threads=2) as traffic:
        for turn in range(1, 11):  # until every cache is as full as it gets
            reload(turn)
        wait_until(lambda: is_calm(gateway), describe=gateway.words)
        wait_until(lambda: descendants(front) == known(gateway), describe=gateway.words)
        before = descriptors(front), resident(front)
        for turn in range(11, 11 + RELOADS):
            reload(turn)
        wait_until(lambda: is_calm(gateway), describe=gateway.words)
        # Processes that had to go may take a while; none is left.
        wait_until(lambda: descendants(front) == known(gateway), describe=gateway.words)
        after = descriptors(front), resident(front)
    assert traffic.failures == []
    answers = [body["predictions"][0] for body in traffic.answered]
    assert set(answers) == set(range(11 + RELOADS))
    assert gateway.metric('gateway_reloads_total{branch="prod",result="swapped"}') == 11 + RELOADS
    assert gateway.metric('gateway_worker_exits_total{branch="prod",reason="died"}') == 0
    assert abs(after[0] - before[0]) <= 3, "descriptors"  # a connection may be on its way
    assert after[1] - before[1] < 8_000_000, "memory of the front"
    children = known(gateway)
    assert gateway.stop() == 0
    wait_until(lambda: not any(map(alive, children)))


def test_a_merge_is_served_by_the_spare(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", {"src/serve.py": SERVE.format(0)})
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    wait_until(lambda: is_calm(gateway), describe=gateway.words)
    (spare,) = gateway.get("/branches").json()["spare_workers"]
    assert gateway.metric("gateway_spare_workers") == 1
    commit = remote.commit("prod", {"src/serve.py": SERVE.format(1)})
    wait_until(lambda: gateway.serving("prod") == commit, describe=gateway.words)
    assert [worker["pid"] for worker in gateway.branch("prod")["workers"]] == [spare["pid"]]
    assert gateway.predict().json()["predictions"] == [1]
    gateway.write(spare_workers=0)
    wait_until(
        lambda: gateway.get("/branches").json()["spare_workers"] == [], describe=gateway.words
    )
