"""gateway.yaml lives in the repository: a weight change is a merge, a bad one changes nothing."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Remote, git
from running import Gateway, serve_py, team
from traffic import Traffic
from waiting import wait_until

FROM_PROD = ("--config-branch", "prod")


def yaml(**weights: float) -> dict[str, str]:
    branches = {name: {"weight": weight} for name, weight in weights.items()}
    return {"gateway.yaml": json.dumps(team(branches), indent=1)}


def configuration(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = gateway.get("/branches").json()["configuration"]
    return found


def answered_by(gateway: Gateway, users: int = 40) -> Counter[str]:
    return Counter(gateway.predict(unit=f"user-{u}").json()["branch"] for u in range(users))


def decisions(remote: Remote, branch: str, kind: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for path in remote.files(branch, "monitoring/decisions/"):
        rows += csv.DictReader(remote.read(branch, path).splitlines())
    return [row for row in rows if row["decision"] == kind]


@pytest.fixture
def gateway(tmp_path: Path, remote: Remote, gateways: list[Gateway]) -> Gateway:
    remote.commit("prod", {**serve_py("old"), **yaml(prod=1)})
    remote.commit("exp", serve_py("new"), start="prod")
    made = Gateway(tmp_path / "g", remote, {}, arguments=FROM_PROD)
    gateways.append(made)
    return made


def test_a_weight_change_is_a_merge(remote: Remote, gateway: Gateway) -> None:
    gateway.start()
    assert answered_by(gateway, 10) == {"prod": 10}
    with Traffic(gateway) as traffic:
        # Quiet to the fleet: nothing of what is served changes.
        remote.commit("weights", yaml(prod=1, exp=1), start="prod")
        merged = remote.merge("weights", "prod")
        wait_until(lambda: set(answered_by(gateway)) == {"prod", "exp"}, describe=gateway.words)
        traffic.more(20)
    assert traffic.failures == []
    said = configuration(gateway)
    assert (said["file"], said["state"]) == ("prod:gateway.yaml", "in_force")
    # The first tip it was seen at: the merge, or a commit of ours on top of it.
    assert git(remote.path, "rev-list", f"{merged}..{said['commit']}", "--", "gateway.yaml") == ""
    assert gateway.metric('gateway_reloads_total{branch="prod",result="swapped"}') == 1
    remote.revert("prod", merged)
    wait_until(lambda: set(answered_by(gateway)) == {"prod"}, describe=gateway.words)


def test_a_bad_file_merged_keeps_the_old_one_in_force_and_leaves_a_decision(
    remote: Remote, gateway: Gateway
) -> None:
    gateway.start()
    bad = {"gateway.yaml": "baseline: prod\nbranches:\n  prod: {weight: ten}\nlisten: 0.0.0.0:80\n"}
    commit = remote.commit("prod", bad)
    wait_until(lambda: configuration(gateway)["state"] == "refused", describe=gateway.words)
    assert gateway.predict().status_code == 200
    wait_until(lambda: decisions(remote, "prod", "config_refused"), describe=gateway.words)
    (row,) = decisions(remote, "prod", "config_refused")
    assert "prod:gateway.yaml:3:18: branches.prod.weight: must be a number" in row["reason"]
    assert "prod:gateway.yaml:4:1: listen: belongs to the operator's own settings" in row["reason"]
    evidence = json.loads(row["evidence"])
    assert evidence["file"] == "prod:gateway.yaml"
    # The tip at which it was read: a monitoring commit may stand on the person's already.
    assert commit in git(remote.path, "rev-list", evidence["commit"], "--", "gateway.yaml").split()
    # The commit that brings that row moves the branch too, and is no news.
    moves = len(git(remote.path, "rev-list", "prod").split())
    remote.commit("prod", {"README.md": "x"})
    gateway.predict()
    wait_until(lambda: len(git(remote.path, "rev-list", "prod").split()) > moves + 1)
    assert len(decisions(remote, "prod", "config_refused")) == 1
    remote.commit("prod", yaml(prod=1, exp=1))
    wait_until(lambda: "exp" in answered_by(gateway), describe=gateway.words)


def test_a_file_that_is_taken_out_of_the_branch_stays_in_force(
    remote: Remote, gateway: Gateway
) -> None:
    gateway.start()
    remote.commit("prod", {"gateway.yaml": None})
    wait_until(lambda: configuration(gateway)["state"] == "refused")
    assert "there is no such file in the branch" in configuration(gateway)["reason"]
    assert gateway.predict().status_code == 200


def test_a_branch_that_is_not_served_may_hold_it(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    remote.commit("exp", serve_py("new"), start="prod")
    remote.commit("ops", yaml(prod=1))
    made = Gateway(tmp_path / "g", remote, {}, arguments=("--config-branch", "ops"))
    gateways.append(made)
    made.start()
    remote.commit("ops", yaml(prod=1, exp=1))
    wait_until(lambda: "exp" in answered_by(made), describe=made.words)
    git(remote.path, "update-ref", "-d", "refs/heads/ops")
    wait_until(lambda: configuration(made)["trouble"])
    assert "the repository has no branch ops" in configuration(made)["trouble"]
    assert "exp" in answered_by(made)


def test_a_start_needs_neither_the_remote_nor_a_good_tip(remote: Remote, gateway: Gateway) -> None:
    gateway.start()
    assert gateway.stop() == 0
    away = remote.path.rename(remote.path.with_name("away.git"))
    gateway.start()
    assert gateway.predict().status_code == 200
    assert gateway.stop() == 0
    away.rename(remote.path)
    remote.commit("prod", {"gateway.yaml": "baseline: nobody\n"})
    gateway.start()
    assert gateway.predict().status_code == 200
    wait_until(lambda: configuration(gateway)["state"] == "refused", describe=gateway.words)
    remote.commit("prod", yaml(prod=1, exp=1))
    wait_until(lambda: "exp" in answered_by(gateway), describe=gateway.words)


def test_the_operators_own_file_is_followed_too(remote: Remote, gateway: Gateway) -> None:
    gateway.start()
    gateway.write(baseline="prod")
    wait_until(lambda: configuration(gateway)["state"] == "refused")
    reason = configuration(gateway)["reason"]
    assert "gateway.yaml:9:2: baseline: stands in the repository's gateway.yaml" in reason
    del gateway.settings["baseline"]
    gateway.write(ready_wait="7s")
    wait_until(lambda: configuration(gateway)["state"] == "in_force")
    wait_until(lambda: "is in force" in gateway.words(), describe=gateway.words)


def serve(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("files", "arguments", "said"),
    [
        ({"gateway.yaml": "baseline: prod\n"}, FROM_PROD, "branches: is missing"),
        ({}, FROM_PROD, "prod:gateway.yaml: there is no such file in the branch at"),
        ({}, ("--config-branch", "gone"), "no branch gone on the remote"),
        ({}, ("--config-branch", "a..b"), "not a git branch name"),
        ({}, (), "--repository goes with --config-branch"),
    ],
    ids=["bad", "absent", "no branch", "no name", "no branch named"],
)
def test_a_start_without_a_configuration_says_why(
    tmp_path: Path, remote: Remote, files: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    remote.commit("prod", {**serve_py("old"), **files})
    done = serve("--repository", remote.path, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_check_knows_the_half_that_stands_in_the_repository(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml(prod=3, exp=1)["gateway.yaml"])
    command = [sys.executable, "-m", "gateway", "check", "--in-repository", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "prod: 75.0% of the users, the baseline" in done.stdout
    file.write_text("repository: /r\n" + yaml(prod=1)["gateway.yaml"].strip("{}"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
