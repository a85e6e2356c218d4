"""Health checks and crawlers are answered by the baseline, and are no part of an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gitrepo import Remote
from running import Gateway, holds, recorded, serve_py
from waiting import wait_until

PROBE = {"User-Agent": "kube-probe/1.29"}


def test_an_excluded_request_gets_the_baseline_and_its_row_says_so(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    for name in ("prod", "exp", "dev"):
        remote.commit(name, serve_py(name))
    branches: dict[str, Any] = {
        "prod": {"weight": 0},
        "exp": {"weight": 1},
        "dev": {"shadow": True},
    }
    gateway = Gateway(tmp_path / "g", remote, branches)
    gateways.append(gateway)
    gateway.start()
    wait_until(lambda: gateway.branch("dev")["state"] == "ready", describe=gateway.words)
    asked = [gateway.predict(headers=PROBE).json() for _ in range(3)]
    asked += [gateway.predict(unit="ada", headers=PROBE).json()]
    user = gateway.predict(unit="ada").json()
    assert {answer["branch"] for answer in asked} == {"prod"}
    assert user["branch"] == "exp"
    assert gateway.metric("gateway_excluded_requests_total") == 4

    gateway.write(exclude={"X-Synthetic": ["*"]})
    in_force = "weights prod 0, exp 1, dev shadow became"
    wait_until(lambda: in_force in gateway.words(), describe=gateway.words)
    assert gateway.predict(headers=PROBE).json()["branch"] == "exp"
    synthetic = gateway.predict(headers={"X-Synthetic": "7"}).json()
    assert synthetic["branch"] == "prod"
    wait_until(lambda: gateway.branch("dev")["shadow"]["requests"]["ok"] >= 2)

    excluded = {answer["request_id"] for answer in (*asked, synthetic)}
    wanted = {"prod": excluded, "exp": {user["request_id"]}, "dev": {user["request_id"]}}
    gateway.stop_published(lambda: holds(remote, wanted))

    rows = {row["request_id"]: row for row in recorded(remote, "prod")}
    assert rows.keys() == excluded
    for row in rows.values():
        assert (row["assigned"], row["reason"], row["status"]) == ("prod", "excluded", "ok")
        assert float(row["propensity"]) == 1
    users = {row["request_id"]: row for row in recorded(remote, "exp")}
    ada = rows[asked[3]["request_id"]]
    assert ada["unit"] == users[user["request_id"]]["unit"] != ""
    assert ada["epoch"] == users[user["request_id"]]["epoch"]
    assert [rows[answer["request_id"]]["unit"] for answer in asked[:3]] == ["", "", ""]
    copied = {row["request_id"] for row in recorded(remote, "dev")}
    assert user["request_id"] in copied
    assert not copied & excluded
