"""A candidate that does harm is out within seconds, for everyone; others climb to their share."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

#: Fails for everybody, but not when it is loaded.
BROKEN = """
def load(root):
    return None
def predict(model, instances):
    raise RuntimeError("the feature store is away")
"""
BRANCHES = {"prod": {"weight": 60}, "exp": {"weight": 30}, "other": {"weight": 10}}
USERS = [f"user-{number}" for number in range(120)]


def arms(gateway: Gateway, users: list[str] = USERS) -> dict[str, str]:
    """Who answers each user."""
    with httpx.Client(base_url=gateway.url, timeout=30) as client:
        return {user: answering(client, user) for user in users}


def answering(client: httpx.Client, user: str) -> str:
    answer = client.post("/predict", json={"instances": [[1]]}, headers={"X-User-Id": user})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["branch"])


def allocation(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] | None = gateway.branch("exp")["allocation"]
    return found or {}


def decisions(remote: Remote, branch: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for path in remote.files(branch, f"monitoring/decisions/{branch}/"):
        rows += csv.DictReader(io.StringIO(remote.read(branch, path) + "\n"))
    return sorted(rows, key=lambda row: row["ts"])


def command(gateway: Gateway, *words: str) -> str:
    from click.testing import CliRunner

    from gateway.cli import main

    found = CliRunner().invoke(main, [*words, "--config", str(gateway.file)])
    assert found.exit_code == 0, found.output
    return found.output


# Each waits for a read-out of what users did, and how long these take is the machine's.
pytestmark = pytest.mark.timeout(400)


def start(
    folder: Path, remote: Remote, gateways: list[Gateway], branches: Any, **settings: Any
) -> Gateway:
    for name in branches:
        remote.commit(name, serve_py(name), start="prod" if name != "prod" else None)
    gateway = Gateway(folder / "g", remote, branches, **settings)
    gateways.append(gateway)
    return gateway.start()


def test_a_content_that_fails_loses_its_users_and_only_they_move(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path, remote, gateways, BRANCHES)
    before = arms(gateway)
    broken = remote.commit("exp", {"src/serve.py": BROKEN})
    wait_until(lambda: gateway.serving("exp") == broken, 60, gateway.words)
    # Everyone is answered meanwhile: by the baseline, where the candidate fails.
    wait_until(
        lambda: arms(gateway) and allocation(gateway).get("state") == "ejected", 60, gateway.words
    )
    assert gateway.branch("exp")["share"] == 0
    assert gateway.branch("exp")["weight"] == 30  # as gateway.yaml says, which nobody rewrites
    after = arms(gateway)
    assert {user for user in USERS if before[user] != after[user]} == {
        user for user in USERS if before[user] == "exp"
    }
    # Users of exp go to the others in proportion, and it is no fallback any more.
    assert {after[user] for user in USERS if before[user] == "exp"} == {"prod", "other"}

    # The read-out is a file of the monitor, looked at once a second.
    def readout() -> Any:
        return gateway.get("/experiment").json()

    wait_until(lambda: "exp" in readout()["allocation"], 60, gateway.words)
    found = readout()
    assert found["allocation"]["exp"]["state"] == "ejected"
    (contrast,) = [
        one for one in found["contrasts"] if one["candidate"] == "exp" and one["current"]
    ]
    assert [one["name"] for one in contrast["guardrails"] if one["breached"]]
    assert gateway.metric('gateway_branch_held{branch="exp",state="ejected"}') == 1
    assert gateway.metric('gateway_branch_weight_ratio{branch="exp"}') == 0

    def decision() -> Any:
        found = [row for row in decisions(remote, "exp") if row["decision"] == "guardrail_breached"]
        return found[0] if found else None

    wait_until(decision, 60, gateway.words)
    told = decision()
    assert told["commit"] == broken
    assert "error_rate" in told["reason"] + told["evidence"]
    assert json.loads(told["evidence"])
    # A fix is other content, and begins with its users.
    fixed = remote.commit("exp", serve_py("exp, fixed"))
    wait_until(lambda: gateway.serving("exp") == fixed, 60, gateway.words)
    wait_until(lambda: arms(gateway) == before, 60, gateway.words)


def test_an_operator_takes_a_branch_out_and_back(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path, remote, gateways, BRANCHES)
    before = arms(gateway)
    gateway.until_steered()
    said = command(gateway, "hold", "exp", "--out", "--reason", "a look at its logs")
    assert "exp" in said
    wait_until(lambda: gateway.branch("exp")["share"] == 0, 60, gateway.words)
    assert "a look at its logs" in allocation(gateway)["reason"]
    assert "exp" not in arms(gateway).values()
    gateway.stop()
    gateway.start()
    assert "exp" not in arms(gateway).values()
    gateway.until_steered()
    command(gateway, "release", "exp")
    wait_until(lambda: arms(gateway) == before, 60, gateway.words)


def test_a_ramp_climbs_to_its_end_and_says_ready(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    ramp = {"steps": [20, 50], "dwell": "1s", "min_units": 20}
    branches = {"prod": {"weight": 1}, "exp": {"ramp": ramp}}
    metrics = {"conversion": {"kind": "binary", "role": "primary", "window": "2s"}}
    gateway = start(tmp_path, remote, gateways, branches, metrics=metrics)
    assert gateway.branch("exp")["share"] == 0.2
    shares: list[float] = []
    users = map(str, itertools.count())

    def climbed() -> bool:
        arms(gateway, list(itertools.islice(users, 40)))
        share: float = gateway.branch("exp")["share"]
        if share not in shares:
            shares.append(share)
        return share == 0.5

    wait_until(climbed, 60, gateway.words)
    assert shares in ([0.2, 0.5], [0.5])
    state = allocation(gateway)
    assert state["state"] in ("ramping", "held", "ready")

    def told() -> list[str]:
        return [row["decision"] for row in decisions(remote, "exp") if "ramp" in row["decision"]]

    wait_until(lambda: len(told()) >= 2, 60, gateway.words)
    assert told()[0] == "ramp_began"
    # New content begins at the first step again.
    fixed = remote.commit("exp", serve_py("exp, fixed"))
    wait_until(lambda: gateway.serving("exp") == fixed, 60, gateway.words)
    wait_until(lambda: gateway.branch("exp")["share"] == 0.2, 60, gateway.words)


def test_a_shadow_is_told_from_the_baseline_by_labels_of_the_same_rows(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    metrics = {"accuracy": {"kind": "ratio", "role": "primary", "window": "5s"}}
    branches = {"prod": {"weight": 1}, "dev": {"shadow": True}}
    gateway = start(tmp_path, remote, gateways, branches, metrics=metrics)

    def scored() -> Any:
        """The shadow is right for all users but one in ten, and prod never."""
        with httpx.Client(base_url=gateway.url, timeout=30) as client:
            # Told of ten at a time: those that were too late would leave other shares.
            for ten in range(6):
                items = []
                for number in range(10):
                    sent = {"X-User-Id": f"user-{ten}{number}"}
                    answer = client.post("/predict", json={"instances": [[1]]}, headers=sent)
                    label = "dev" if number else "prod"
                    items.append({"request_id": answer.json()["request_id"], "label": label})
                told = [{**item, "metric": "accuracy"} for item in items]
                assert client.post("/feedback", json={"items": told}).status_code == 202
        for contrast in gateway.get("/experiment").json()["contrasts"]:
            for paired in contrast["paired"]:
                if paired["status"] == "better":
                    return dict(paired)
        return None

    found: Any = wait_until(scored, 90, gateway.words)
    assert found["rows"] == found["differing"]
    assert found["difference"]["estimate"] == pytest.approx(0.8, abs=0.02)
    wait_until(lambda: outcomes(remote, "dev"), 60, gateway.words)
    assert {row["metric"] for row in outcomes(remote, "dev")} == {"accuracy"}


def outcomes(remote: Remote, branch: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for path in remote.files(branch, f"monitoring/outcomes/{branch}/"):
        rows += csv.DictReader(io.StringIO(remote.read(branch, path) + "\n"))
    return rows
