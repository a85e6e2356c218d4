"""What the monitor decides on weights is in force within seconds, and through restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from gitrepo import Remote
from playedmonitor import PlayedMonitor
from running import Gateway, serve_py
from waiting import wait_until

from gateway.config import TeamConfig
from gateway.experiments.allocation import Order
from gateway.names import Branch
from gateway.reporting.fetching import Pages

USERS = [f"user-{number}" for number in range(150)]
BRANCHES: dict[str, dict[str, Any]] = {
    "prod": {"weight": 50},
    "exp": {"weight": 30},
    "other": {"weight": 20},
}


def arms(gateway: Gateway) -> dict[str, str]:
    with httpx.Client(base_url=gateway.url, timeout=30) as client:
        return {user: _arm(client, user) for user in USERS}


def _arm(client: httpx.Client, user: str) -> str:
    answer = client.post("/predict", json={"instances": [[1]]}, headers={"X-User-Id": user})
    return str(answer.json()["branch"])


def configured(branches: dict[str, dict[str, Any]], name: str = "exp") -> str:
    team = TeamConfig.model_validate({"baseline": "prod", "branches": branches})
    return team.configured(Branch(name))


def ejected(gateway: Gateway, **fields: Any) -> Order:
    """The content that exp serves now."""
    given = {
        "state": "ejected",
        "share": 0.0,
        "fingerprint": gateway.branch("exp")["serving"]["fingerprint"],
        "configured": configured(gateway.settings["branches"]),
        "reason": "error_rate: four times as likely",
        "since": "2026-11-29T10:00:00.000Z",
    }
    return Order(**{**given, **fields})


@pytest.fixture
def gateway(tmp_path: Path, remote: Remote, gateways: list[Gateway]) -> Gateway:
    for name in BRANCHES:
        remote.commit(name, serve_py(name), start="prod" if name != "prod" else None)
    gateway = Gateway(tmp_path / "g", remote, BRANCHES)
    gateways.append(gateway)
    return gateway


def held(gateway: Gateway, state: str) -> float:
    return gateway.metric(f'gateway_branch_held{{branch="exp",state="{state}"}}')


def test_an_ejected_branch_gets_nobody_until_it_serves_other_content(
    gateway: Gateway, remote: Remote
) -> None:
    """Within seconds, through a kill and a restart, and nobody else moves."""
    with PlayedMonitor(gateway.folder / ".gateway") as monitor:
        gateway.start()
        before = arms(gateway)
        assert set(before.values()) == set(BRANCHES)
        epoch = gateway.get("/branches").json()["epoch"]
        monitor.write(exp=ejected(gateway))
        wait_until(lambda: gateway.branch("exp")["share"] == 0, 60, gateway.words)
        after = arms(gateway)
        assert {u for u in USERS if before[u] != after[u]} == {
            u for u in USERS if before[u] == "exp"
        }
        assert set(after.values()) == {"prod", "other"}
        page = gateway.get("/branches").json()
        assert page["epoch"] != epoch
        assert page["allocation"] == {"trouble": None}
        shown = page["branches"]["exp"]
        assert (shown["weight"], shown["effective_weight"]) == (30, 0)
        assert shown["allocation"] == {
            "state": "ejected",
            "reason": "error_rate: four times as likely",
            "since": "2026-11-29T10:00:00.000Z",
        }
        assert page["branches"]["other"]["allocation"] is None
        assert gateway.metric('gateway_branch_weight_ratio{branch="exp"}') == 0
        assert held(gateway, "ejected") == 1
        said = "exp: ejected, 0 % of the users: error_rate: four times as likely"
        assert gateway.words().count(said) == 1

        told = Pages(gateway.url).standing()
        assert {user: told.split.assign(user) for user in USERS} == after

        gateway.kill()
        gateway.start(ready=False)
        assert gateway.branch("exp")["share"] == 0  # before anything is loaded
        wait_until(gateway.is_ready, 60, gateway.words)
        assert arms(gateway) == after
        assert gateway.get("/branches").json()["epoch"] == page["epoch"]

        remote.commit("exp", serve_py("mended"))
        wait_until(lambda: gateway.branch("exp")["share"] == 0.3, 60, gateway.words)
        assert arms(gateway) == before
        assert held(gateway, "ejected") == 0
        assert "exp: no longer ejected; by gateway.yaml, 30 % of the users" in gateway.words()

        remote.revert("exp")
        wait_until(lambda: gateway.branch("exp")["share"] == 0, 60, gateway.words)
        assert arms(gateway) == after


def test_an_edit_in_gateway_yaml_wins_again(gateway: Gateway) -> None:
    with PlayedMonitor(gateway.folder / ".gateway") as monitor:
        gateway.start()
        monitor.write(exp=ejected(gateway))
        wait_until(lambda: gateway.branch("exp")["share"] == 0, 60, gateway.words)
        edited = {**BRANCHES, "other": {"weight": 70}}
        gateway.write(branches=edited)
        wait_until(lambda: gateway.branch("other")["weight"] == 70, 60, gateway.words)
        assert gateway.branch("exp")["share"] == 0  # that was not about exp
        gateway.write(branches={**edited, "exp": {"weight": 80}})
        wait_until(lambda: gateway.branch("exp")["share"] == 0.4, 60, gateway.words)
        assert gateway.branch("exp")["allocation"] is None


def test_a_ramp_begins_at_its_first_step_and_follows_the_orders(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("prod"))
    remote.commit("exp", serve_py("exp"), start="prod")
    branches: dict[str, dict[str, Any]] = {
        "prod": {"weight": 1},
        "exp": {"ramp": {"steps": [5, 40]}},
    }
    gateway = Gateway(tmp_path / "g", remote, branches)
    gateways.append(gateway)
    with PlayedMonitor(tmp_path / "g" / ".gateway") as monitor:
        gateway.start()
        assert gateway.branch("exp")["share"] == pytest.approx(0.05)
        first = {user for user, arm in arms(gateway).items() if arm == "exp"}
        monitor.write(exp=ejected(gateway, state="ramping", share=0.4))
        wait_until(lambda: gateway.branch("exp")["share"] > 0.3, 60, gateway.words)
        second = {user for user, arm in arms(gateway).items() if arm == "exp"}
        assert first < second
        assert held(gateway, "ramping") == 1
        # Other content falls back at once, before the monitor has heard of it.
        remote.commit("exp", serve_py("new"))
        wait_until(lambda: gateway.branch("exp")["share"] < 0.1, 60, gateway.words)
        assert {user for user, arm in arms(gateway).items() if arm == "exp"} == first


def test_a_file_that_cannot_be_read_changes_nothing_and_is_told_of(gateway: Gateway) -> None:
    with PlayedMonitor(gateway.folder / ".gateway") as monitor:
        gateway.start()
        monitor.write(exp=ejected(gateway))
        wait_until(lambda: gateway.branch("exp")["share"] == 0, 60, gateway.words)
        file = monitor.state_dir / "allocation.json"
        for content, trouble in (
            (b"{", "holds no orders: Input data was truncated"),
            (b'{"version": 2}', "holds no orders: version: must be 1. Given: 2"),
            (b" " * 2**20 + b"{}", "holds more than 1048576 bytes"),
            (None, "is gone"),
        ):
            file.unlink()
            if content is not None:
                file.write_bytes(content)
            wait_until(
                lambda said=trouble: (
                    gateway.get("/branches").json()["allocation"]["trouble"]  # type: ignore[misc]
                    == said
                ),
                60,
                gateway.words,
            )
            assert gateway.branch("exp")["share"] == 0
            assert f"allocation.json {trouble}; the weights stay as they are" in gateway.words()
        monitor.write()
        wait_until(lambda: gateway.branch("exp")["share"] == 0.3, 60, gateway.words)
        assert gateway.get("/branches").json()["allocation"]["trouble"] is None
