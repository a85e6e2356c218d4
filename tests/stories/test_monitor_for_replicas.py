"""`gateway monitor --for-replicas` publishes for gateways that it stands beside none of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from besidemonitor import BesideMonitor
from gitrepo import Remote
from redisserver import RedisServer
from replicas import ANOTHER_LEADS, KEY, PREFIX, Replicas
from running import Gateway, serve_py
from waiting import wait_until

from gateway.shared.door import Door

BRANCHES = {"prod": {"weight": 50}, "exp": {"weight": 50}}
pytestmark = pytest.mark.timeout(500)

#: The only one whose home has this name.
NAME = "replica-monitor"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def replicas(tmp_path: Path, remote: Remote, server: RedisServer) -> Iterator[Replicas]:
    for name in BRANCHES:
        files = serve_py(name) | {"data/train.csv": "a\n" + "1\n2\n" * 200}
        remote.commit(name, files, start="prod" if name != "prod" else None)
    with Replicas(
        tmp_path,
        remote,
        BRANCHES,
        server,
        count=2,
        drift={"window": "1s", "min_rows": 5, "reference": {"path": "data/train.csv"}},
    ) as replicas:
        yield replicas


@pytest.fixture
def monitor(
    tmp_path: Path, remote: Remote, server: RedisServer, replicas: Replicas
) -> Iterator[BesideMonitor]:
    """On a gateway.yaml of its own, which is that of the others."""
    folder = tmp_path / NAME
    environ = {"REDIS_URL": f"unix://{server.socket}", "UNIT_KEY": KEY, "HOME": str(folder)}
    settings = {k: v for k, v in replicas.fronts[0].settings.items() if k != "branches"}
    del settings["repository"], settings["baseline"]
    Gateway(folder, remote, BRANCHES, environ=environ, **settings)
    with BesideMonitor(folder / "gateway.yaml", environ, ["--for-replicas"]) as monitor:
        yield monitor


def holder(server: RedisServer) -> str | None:
    with Door(server.settings(PREFIX)) as door:
        return door.holder()


def until_it_leads(server: RedisServer, tmp_path: Path, monitor: BesideMonitor) -> None:
    name = (tmp_path / NAME / ".gateway" / "replica.id").read_text()
    wait_until(lambda: holder(server) == name, ANOTHER_LEADS, monitor.words)


def until_published(replicas: Replicas, by: set[str]) -> None:
    """Rows of a user at each replica, by one of these."""
    before = len(replicas.pushes())
    for front in replicas.up:
        assert front.predict(unit="u").status_code == 200
    wait_until(lambda: {who for who, _, _ in replicas.pushes()[before:]} & by, 90.0, replicas.words)


def test_it_leads_publishes_and_hands_over(
    tmp_path: Path, server: RedisServer, replicas: Replicas, monitor: BesideMonitor
) -> None:
    until_it_leads(server, tmp_path, monitor)
    replicas.until_well()
    until_published(replicas, {NAME})

    # It is no replica that serves, and no reason to see a difference.
    def is_left_out(front: Gateway) -> bool:
        shared, listed = replicas.shared(front), front.get("/branches").json()["replicas"]
        return len(listed) == 2 and shared["skew"] == [] and shared["role"] == "stands by"

    for front in replicas.fronts:
        wait_until(lambda front=front: is_left_out(front), 60.0, replicas.words)  # type: ignore[misc]

    # Its end is no end of publishing, and once back it leads again.
    assert monitor.stop() == 0, monitor.words()
    replicas.leads()
    until_published(replicas, {"replica-0", "replica-1"})
    monitor.start()
    until_it_leads(server, tmp_path, monitor)
    until_published(replicas, {NAME})


def test_it_knows_what_serves_and_what_it_is_compared_with(
    tmp_path: Path, server: RedisServer, replicas: Replicas, monitor: BesideMonitor
) -> None:
    until_it_leads(server, tmp_path, monitor)
    replicas.until_well()
    front = replicas.fronts[0]
    served = tmp_path / NAME / ".gateway" / "served.json"
    wait_until(
        lambda: served.exists() and served.read_bytes() and _contents(served) == _contents_of(front)
    )

    def has_drift() -> bool:
        for number in range(20):
            front.predict([{"a": number % 3}], unit=f"u{number}")
        report = front.get("/branches/prod/drift").json()
        return bool(report.get("window")) and report["reference"]["source"]["type"] == "data"

    wait_until(has_drift, 90.0, lambda: (front.get("/branches/prod/drift").text, monitor.words()))
    # Both arms of the comparison are what serves now.
    wait_until(
        lambda: [one["current"] for one in front.get("/experiment").json()["contrasts"]] == [True],
        60.0,
        monitor.words,
    )


def test_what_changes_in_the_file_is_in_force_without_a_restart(
    tmp_path: Path, server: RedisServer, replicas: Replicas, monitor: BesideMonitor
) -> None:
    until_it_leads(server, tmp_path, monitor)
    file = tmp_path / NAME / "gateway.yaml"
    known = tmp_path / NAME / ".gateway" / "monitor-settings.json"
    text = file.read_text()
    file.write_text("branches: [")
    wait_until(lambda: "the former settings stay in force" in monitor.words())
    settings = json.loads(text)
    settings["branches"] = {"prod": {"weight": 70}, "exp": {"weight": 30}}
    settings["poll"] = "5s"
    file.write_text(json.dumps(settings))
    wait_until(
        lambda: json.loads(known.read_bytes())["experiment"]["branches"]["exp"]["weight"] == 30.0,
        60.0,
        monitor.words,
    )
    settings["redis"]["prefix"] = "another"
    file.write_text(json.dumps(settings))
    wait_until(
        lambda: "takes effect at a restart: redis" in monitor.words(), describe=monitor.words
    )
    assert json.loads(known.read_bytes())["redis"]["prefix"] == PREFIX


def test_without_redis_it_says_what_it_is_for(tmp_path: Path, remote: Remote) -> None:
    alone = Gateway(tmp_path / "alone", remote, BRANCHES)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "monitor", "--for-replicas", str(alone.file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "redis" in done.stderr
    assert "reads from Redis what they record" in done.stderr


def _contents(served: Path) -> dict[str, str]:
    return {name: one["fingerprint"] for name, one in json.loads(served.read_bytes()).items()}


def _contents_of(front: Gateway) -> dict[str, str]:
    return {name: front.branch(name)["serving"]["fingerprint"] for name in BRANCHES}
