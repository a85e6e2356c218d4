"""Front and monitor as two processes of an operator's: either is killed and comes by itself."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from besidemonitor import BesideMonitor
from githttp import GitHttp
from gitrepo import Remote
from playedmonitor import PlayedMonitor
from running import Gateway, recorded, serve_py
from waiting import wait_until

from gateway.config import TeamConfig
from gateway.experiments.allocation import Order
from gateway.monitoring.monitor_settings import SHARED_FOLDER
from gateway.names import Branch
from gateway.store.ledger import KeptOutcome, Ledger

SECRET = "correct horse battery staple"
TOKEN = "t0k-of-a-reader"
APART = ("--no-monitor",)
#: A Redis that is not there, as each front is told of it.
SHARING: dict[str, Any] = {
    "redis": {"url_env": "REDIS_URL"},
    "unit_key_env": "UNIT_KEY",
    "webhook": {"secret_env": "HOOK_SECRET"},
    "poll": "1h",
    "environ": {
        "REDIS_URL": "unix:///nowhere/redis.socket",
        "UNIT_KEY": "0123456789abcdef",
        "HOOK_SECRET": SECRET,
    },
}


def request_ids(remote: Remote) -> set[str]:
    return {row["request_id"] for row in recorded(remote, "prod")}


def recording(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = gateway.get("/branches").json()["recording"]
    return found


def call_webhook(gateway: Gateway, body: bytes) -> None:
    mac = hmac.new(SECRET.encode(), body, "sha256").hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={mac}"}
    answer = httpx.post(f"{gateway.url}/webhooks/git", content=body, headers=headers, timeout=30)
    assert answer.json() == {"status": "accepted"}


@pytest.fixture
def served(remote: Remote) -> Remote:
    remote.commit("prod", serve_py("old"))
    return remote


@pytest.fixture
def sharing(tmp_path: Path, served: Remote, gateways: list[Gateway]) -> Gateway:
    """A front with `redis` and without a monitor, not started."""
    gateway = Gateway(tmp_path / "g", served, {"prod": {"weight": 1}}, arguments=APART, **SHARING)
    gateways.append(gateway)
    return gateway


@pytest.fixture
def played(sharing: Gateway) -> Iterator[PlayedMonitor]:
    with PlayedMonitor(sharing.folder / ".gateway") as monitor:
        yield monitor


def test_rows_reach_git_whichever_of_the_two_is_killed_and_started_anew(
    tmp_path: Path, served: Remote, gateways: list[Gateway]
) -> None:
    gateway = Gateway(tmp_path / "g", served, {"prod": {"weight": 1}}, arguments=APART)
    gateways.append(gateway)
    with BesideMonitor(gateway.file) as monitor:
        wait_until(lambda: "waiting for `gateway serve --no-monitor`" in monitor.words())
        gateway.start()
        first = gateway.predict().json()["request_id"]
        wait_until(lambda: first in request_ids(served), describe=monitor.words)
        wait_until(lambda: recording(gateway)["waiting"])
        assert (recording(gateway)["trouble"], recording(gateway)["monitor_pid"]) == (None, None)
        assert not {"shared", "replicas"} & gateway.get("/branches").json().keys()

        monitor.kill()
        wait_until(lambda: "no monitor runs beside" in (recording(gateway)["trouble"] or ""))
        meanwhile = gateway.predict().json()["request_id"]
        monitor.start()
        wait_until(lambda: meanwhile in request_ids(served), describe=monitor.words)
        wait_until(lambda: recording(gateway)["trouble"] is None)

        last = gateway.predict().json()["request_id"]
        assert gateway.stop() == 0
        wait_until(lambda: last in request_ids(served), describe=monitor.words)
        gateway.start()
        newest = gateway.predict().json()["request_id"]
        wait_until(lambda: newest in request_ids(served), describe=monitor.words)
        assert monitor.stop() == 0
    assert len(recorded(served, "prod")) == 4


def test_a_password_in_the_monitors_own_environment_is_the_one_it_pushes_with(
    tmp_path: Path, served: Remote, gateways: list[Gateway]
) -> None:
    """The front's lies in a descriptor that only the front's children inherit."""
    with GitHttp(tmp_path, password=TOKEN) as server:
        gateway = Gateway(
            tmp_path / "g",
            served,
            {"prod": {"weight": 1}},
            arguments=APART,
            repository=server.url(served.path),
            credentials={"password_env": "GIT_TOKEN"},
            environ={"GIT_TOKEN": TOKEN},
        )
        gateways.append(gateway)
        with BesideMonitor(gateway.file) as refused:
            assert refused.process is not None
            assert refused.process.wait(90) == 2
            assert "credentials.password_env GIT_TOKEN" in refused.words()
        with BesideMonitor(gateway.file, {"GIT_TOKEN": TOKEN}) as monitor:
            asked = gateway.start().predict().json()["request_id"]
            wait_until(lambda: asked in request_ids(served), describe=monitor.words)
            assert monitor.stop() == 0
            assert TOKEN not in monitor.words()


def test_a_monitor_does_not_outlive_the_repository_that_its_front_was_started_on(
    tmp_path: Path, served: Remote, gateways: list[Gateway]
) -> None:
    gateway = Gateway(tmp_path / "g", served, {"prod": {"weight": 1}}, arguments=APART)
    gateways.append(gateway)
    other = Remote(tmp_path / "other.git")
    other.commit("prod", serve_py("other"))
    with BesideMonitor(gateway.file) as monitor:
        gateway.start()
        asked = gateway.predict().json()["request_id"]
        wait_until(lambda: asked in request_ids(served), describe=monitor.words)
        assert gateway.stop() == 0
        gateway.write(repository=other.address)
        gateway.start()
        assert monitor.process is not None
        assert monitor.process.wait(90) == 1
        assert "another repository" in monitor.words()


def test_without_redis_and_without_a_monitor_a_sharing_front_goes_on_as_any(
    sharing: Gateway, served: Remote
) -> None:
    sharing.start()
    answer = sharing.predict(unit="ada").json()
    assert answer["predictions"] == ["old"]
    sent = {"request_id": answer["request_id"], "metric": "reward", "value": 1}
    told = httpx.post(f"{sharing.url}/feedback", json=sent, timeout=30)
    assert told.json()["status"] == "accepted", told.text
    newer = served.commit("prod", serve_py("newer"))
    call_webhook(sharing, b"one")
    wait_until(lambda: sharing.serving("prod") == newer, describe=sharing.words)

    page = sharing.get("/branches").json()
    assert page["shared"]["role"] == "alone"
    assert "no monitor runs beside" in page["shared"]["trouble"]
    assert page["recording"]["trouble"] == page["shared"]["trouble"]
    assert page["replicas"] == {}
    assert sharing.metric("gateway_shared_up") == 0
    assert sharing.get(f"/feedback/{answer['request_id']}").json()["items"] == []
    assert sharing.stop() == 0


def test_what_became_of_an_outcome_is_read_from_what_all_replicas_count(
    sharing: Gateway, played: PlayedMonitor
) -> None:
    """Whichever of them took the outcome, and whichever counted it."""
    sharing.start()
    asked = sharing.predict().json()["request_id"]
    store = played.state_dir / SHARED_FOLDER / "store.sqlite"
    store.parent.mkdir()
    with Ledger(store) as ledger, ledger.whole():
        ledger.keep(KeptOutcome(asked, 0, "reward", 0, 1.0, None, "accepted", "prod"))
    (item,) = sharing.get(f"/feedback/{asked}").json()["items"]
    assert (item["status"], item["branch"]) == ("accepted", "prod")


def test_what_the_monitor_says_of_other_replicas_stands_in_status_and_metrics(
    sharing: Gateway, played: PlayedMonitor
) -> None:
    skew = "prod serves commit 1111 here and commit 2222 at b"
    shared = {
        "replica": "a",
        "role": "stands by",
        "holder": "b",
        "state": 7,
        "waiting": {"chunks": 2, "bytes": 900},
        "paused": True,
        "bytes": 12_345,
        "trouble": None,
        "skew": [skew],
    }
    replicas = {
        name: {"host": host, "pid": 7, "writer": "0a0b0c0d", "serving": {}}
        for name, host in (("a", "one"), ("b", "two"))
    }
    played.say(shared={**shared, "replicas": replicas, "looks": 0})
    sharing.start()
    wait_until(lambda: sharing.get("/branches").json()["shared"]["role"] == "stands by")
    page = sharing.get("/branches").json()
    assert page["shared"] == shared
    assert page["replicas"] == replicas
    assert page["recording"]["trouble"] is None
    assert sharing.metric("gateway_shared_up") == 1
    assert sharing.metric("gateway_shared_leads") == 0
    assert sharing.metric("gateway_shared_chunks_waiting") == 2
    assert sharing.metric("gateway_shared_bytes") == 12_345
    assert sharing.metric("gateway_shared_paused") == 1
    assert sharing.metric("gateway_replicas") == 2


def test_a_push_that_one_replica_is_told_of_is_served_by_the_others_at_once(
    sharing: Gateway, served: Remote, played: PlayedMonitor
) -> None:
    played.say(shared={"role": "stands by", "trouble": None, "looks": 5})
    sharing.start()
    second = served.commit("prod", serve_py("second"))
    played.say(shared={"role": "stands by", "trouble": None, "looks": 6})
    wait_until(lambda: sharing.serving("prod") == second, describe=sharing.words)
    assert "remote" not in played.heard()
    call_webhook(sharing, b"another")
    wait_until(lambda: "remote" in played.heard())
    # A Redis that was emptied counts anew.
    third = served.commit("prod", serve_py("third"))
    played.say(shared={"role": "stands by", "trouble": None, "looks": 1})
    wait_until(lambda: sharing.serving("prod") == third, describe=sharing.words)


def test_orders_that_come_by_file_are_in_force_without_a_monitor_of_ones_own(
    tmp_path: Path, served: Remote, gateways: list[Gateway]
) -> None:
    served.commit("exp", serve_py("exp"), start="prod")
    branches = {"prod": {"weight": 50}, "exp": {"weight": 50}}
    gateway = Gateway(tmp_path / "g", served, branches, arguments=APART, **SHARING)
    gateways.append(gateway)
    gateway.start()
    with PlayedMonitor(gateway.folder / ".gateway") as played:
        fingerprint = gateway.branch("exp")["serving"]["fingerprint"]
        since = "2026-11-29T10:00:00.000Z"
        team = TeamConfig.model_validate({"baseline": "prod", "branches": branches})
        said = team.configured(Branch("exp"))
        played.write(exp=Order("ejected", 0.0, fingerprint, said, "harm", since))
        wait_until(lambda: gateway.branch("exp")["share"] == 0, describe=gateway.words)
    assert {gateway.predict(unit=f"u{n}").json()["branch"] for n in range(20)} == {"prod"}
