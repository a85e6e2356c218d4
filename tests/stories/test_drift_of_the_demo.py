"""The demonstration's branches, asked rows as they were trained on, then rows that moved."""

from __future__ import annotations

import csv
import io
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from gitrepo import Remote, git
from monitorprocess import pushed_rows
from running import Gateway
from waiting import wait_until

from gateway.demo.repository import CHALLENGER, PROD, build_repository
from gateway.monitoring.segments import DRIFT_COLUMNS
from gateway.statistics.reference import DERIVED

Row = dict[str, float]
#: In standard deviations of the column.
SHIFTED = {"mean texture": 1.5, "worst symmetry": -1.5}
REQUESTS = 1000


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_repository(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def gateway(tmp_path: Path, remote: Remote, demo: Path, gateways: list[Gateway]) -> Gateway:
    git(remote.path, "fetch", "--quiet", str(demo), "+refs/heads/*:refs/heads/*")
    branches = {PROD: {"weight": 50}, CHALLENGER: {"weight": 50}}
    drift = {"window": "4s", "min_rows": 300}
    gateway = Gateway(tmp_path / "g", remote, branches, drift=drift)
    gateways.append(gateway)
    return gateway.start()


class Users:
    """Each asks one row, drawn from those the models were trained on."""

    def __init__(self, remote: Remote) -> None:
        lines = git(remote.path, "show", f"{PROD}:data/train.csv").splitlines()
        self._rows = [
            {name: float(text) for name, text in row.items() if name != "diagnosis"}
            for row in csv.DictReader(lines)
        ]
        self._random = random.Random(7)
        self.asked = 0

    def ask(self, gateway: Gateway, shift: Mapping[str, float]) -> None:
        moved = {name: sds * self._sd(name) for name, sds in shift.items()}
        with httpx.Client(base_url=gateway.url, timeout=30) as client:
            for _ in range(REQUESTS):
                self.asked += 1
                row = dict(self._random.choice(self._rows))
                row |= {name: row[name] + by for name, by in moved.items()}
                user = {"X-User-Id": f"user-{self.asked}"}
                answer = client.post("/predict", json={"instances": [row]}, headers=user)
                assert answer.status_code == 200, answer.text

    def _sd(self, name: str) -> float:
        values = [row[name] for row in self._rows]
        mean = sum(values) / len(values)
        return float((sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5)


def drift_rows(remote: Remote) -> list[dict[str, str]]:
    rows = csv.reader(pushed_rows(remote, "drift"))
    return [dict(zip(DRIFT_COLUMNS, row, strict=True)) for row in rows]


def all_judged(remote: Remote, users: Users) -> bool:
    """Is all of each branch's half in pushed windows, but what is too little for one?"""
    judged = Counter[str]()
    for row in drift_rows(remote):
        judged[row["branch"]] += int(row["n"]) if row["column"] == "mean area" else 0
    return all(judged[branch] >= users.asked / 2 - 350 for branch in (PROD, CHALLENGER))


def compared(remote: Remote) -> bool:
    """Is anything of the challenger compared with the baseline?"""
    return any(row["column"].startswith(f"vs:{PROD}:") for row in drift_rows(remote))


@pytest.mark.timeout(400)
def test_shifted_columns_are_flagged_on_both_branches_and_nothing_else_ever(
    gateway: Gateway, remote: Remote
) -> None:
    users = Users(remote)
    users.ask(gateway, {})
    wait_until(lambda: all_judged(remote, users), 90.0, gateway.words)
    # A pair's window needs rows enough of both branches, and may end a window later.
    wait_until(lambda: compared(remote), 60.0, gateway.words)
    # The models are another and may well answer another way: that is no drift.
    assert not [
        row
        for row in drift_rows(remote)
        if row["severity"] != "ok" and not row["reason"].startswith("model")
    ]
    # What of the first rows waited for its window is judged together with the moved ones.
    users.ask(gateway, SHIFTED)
    users.ask(gateway, SHIFTED)
    wait_until(lambda: all_judged(remote, users), 90.0, gateway.words)
    found = [row for row in drift_rows(remote) if row["severity"] != "ok"]
    for branch in (PROD, CHALLENGER):
        flagged = {row["column"] for row in found if row["branch"] == branch}
        inputs = {name for name in flagged if name not in DERIVED and not name.startswith("vs:")}
        assert inputs == SHIFTED.keys()
    assert not [row for row in found if row["reason"].startswith("split")]
    wait_until(
        lambda: [row for row in pushed_rows(remote, "decisions") if ",drift," in row],
        describe=gateway.words,
    )
    _seen(gateway)


def _seen(gateway: Gateway) -> None:
    """What the monitor says is what everybody is shown."""
    # It says so after the push, and the rest of the rows may still be on their way through it.
    quiet = {"lag_rows": 0, "left_out_rows": 0, "trouble": None}

    def said() -> Any:
        return gateway.get("/branches").json()["recording"]["drift"]

    wait_until(lambda: said() == quiet, 60.0, said)
    wait_until(lambda: gateway.branch(PROD)["drift"]["severity"] == "critical", 60.0, said)
    body = gateway.get(f"/branches/{PROD}/drift").json()
    assert (body["state"], body["severity"]) == ("measured", "critical")
    assert gateway.metric(f'gateway_drift_severity{{branch="{PROD}",column="mean texture"}}') == 3
    assert gateway.metric("gateway_drift_lag_rows") == 0
    flat = gateway.get(f"/branches/{PROD}/monitoring/drift.csv").text
    assert next(csv.DictReader(io.StringIO(flat))).keys() == set(DRIFT_COLUMNS)
    command = [sys.executable, "-m", "gateway"]
    shown = subprocess.run(
        [*command, "drift", PROD, "--url", gateway.url, "--fail-on", "critical"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 1, shown.stderr
    assert "mean texture" in shown.stdout
    page = gateway.folder / "report.html"
    subprocess.run(
        [*command, "report", PROD, "--url", gateway.url, "-o", str(page)], check=True, timeout=60
    )
    assert "worst symmetry" in page.read_text()
