"""Whatever dies, every answered request is in the pushed segments exactly once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from gitrepo import Remote
from running import Gateway, recorded, serve_py
from traffic import Traffic
from waiting import wait_until


def all_recorded(remote: Remote) -> Counter[str]:
    rows = recorded(remote, "prod") + recorded(remote, "exp")
    return Counter(row["request_id"] for row in rows)


def start(tmp_path: Path, remote: Remote, gateways: list[Gateway]) -> Gateway:
    remote.commit("prod", serve_py("old"))
    remote.commit("exp", serve_py("new"), start="prod")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 3}, "exp": {"weight": 1}})
    gateways.append(gateway)
    return gateway.start()


def check(gateway: Gateway, remote: Remote, traffic: Traffic) -> None:
    answered = [body["request_id"] for body in traffic.answered]
    assert len(answered) > 50
    gateway.publish_rest(lambda: set(answered) <= all_recorded(remote).keys())
    counts = all_recorded(remote)
    assert [found for found in answered if counts[found] != 1] == []


def test_kill_9_of_the_front(tmp_path: Path, remote: Remote, gateways: list[Gateway]) -> None:
    gateway = start(tmp_path, remote, gateways)
    with Traffic(gateway) as traffic:
        for _ in range(2):
            traffic.more(100)
            gateway.kill()
            gateway.start()
        traffic.more(100)
    assert gateway.stop() == 0
    check(gateway, remote, traffic)


@pytest.mark.parametrize("victim", ["prod", "exp", "monitor"])
def test_kill_9_of_a_child(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], victim: str
) -> None:
    gateway = start(tmp_path, remote, gateways)

    def pid() -> int:
        status = gateway.get("/branches").json()
        if victim == "monitor":
            return int(status["recording"]["monitor_pid"] or 0)
        workers = status["branches"][victim]["workers"]
        return int(workers[0]["pid"]) if workers else 0

    with Traffic(gateway) as traffic:
        # More often than a keeper that serving needs would be restarted.
        for _ in range(6):
            traffic.more(60)
            killed = int(str(wait_until(pid)))
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda killed=killed: pid() not in (0, killed))  # type: ignore[misc]
        traffic.more(60)
    assert traffic.failures == []
    assert gateway.stop() == 0
    check(gateway, remote, traffic)


def test_sigterm_loses_nothing_and_fails_no_request_in_flight(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    slow = "import time\ndef predict(model, instances):\n    time.sleep(0.05)\n    return [1]\n"
    remote.commit("prod", {"src/serve.py": slow})
    remote.commit("exp", {"src/serve.py": slow}, start="prod")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 3}, "exp": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    with Traffic(gateway, threads=8) as traffic:
        traffic.more(60)
        assert gateway.stop() == 0
    # Once it has stopped nobody listens; until then every request that got in was answered, and
    # none was sent into a connection that was about to close.
    assert [r for r in traffic.failures if "ConnectError" not in r.failure] == []
    check(gateway, remote, traffic)
