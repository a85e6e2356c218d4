"""A branch that keeps failing is left out here until it works again; one caller cannot do that."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

from gateway.assignment import Split
from gateway.names import Branch

#: Broken while a file is there, and for one row always.
CODE = """
import pathlib
def predict(model, instances):
    if pathlib.Path({flag!r}).exists() or instances[0][0] == "poison":
        raise RuntimeError("the feature store is away")
    return ["exp" for _ in instances]
"""
GOLDEN = json.dumps({"instances": [["g"]], "predictions": ["exp"]})
EJECTED = 'gateway_branch_ejected{branch="exp"}'


def start(
    folder: Path, remote: Remote, gateways: list[Gateway], files: dict[str, str], **exp: Any
) -> Gateway:
    """prod answers well, exp is broken while `folder / broken` is there."""
    remote.commit("prod", serve_py("good"))
    code = CODE.format(flag=str(folder / "broken"))
    remote.commit("exp", {"src/serve.py": code, **files}, start="prod")
    branches = {"prod": {"weight": 1}, "exp": {"weight": 1, "timeout": "20s", **exp}}
    gateway = Gateway(folder / "g", remote, branches)
    gateways.append(gateway)
    return gateway.start()


def users_of(branch: str) -> Iterator[str]:
    split = Split("gateway", {Branch("prod"): 1.0, Branch("exp"): 1.0})
    return (user for user in map(str, count()) if split.assign(user) == branch)


def requests(gateway: Gateway, branch: str, status: str) -> float:
    return gateway.metric(f'gateway_requests_total{{branch="{branch}",status="{status}"}}')


def decisions(remote: Remote, branch: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for path in remote.files(branch, f"monitoring/decisions/{branch}/"):
        rows += csv.DictReader(io.StringIO(remote.read(branch, path) + "\n"))
    return sorted(rows, key=lambda row: row["ts"])


def test_five_failures_in_a_row_leave_a_branch_out_until_a_probe_row_is_answered(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path, remote, gateways, {"metrics/golden.json": GOLDEN})
    users = list(islice(users_of("exp"), 8))
    assert gateway.predict([["x"]], users[0]).json()["branch"] == "exp"
    (tmp_path / "broken").touch()
    answers = [gateway.predict([["x"]], user) for user in users]
    assert [(a.status_code, a.json()["branch"]) for a in answers] == [(200, "prod")] * 8
    assert requests(gateway, "exp", "fallback_error") == 5
    assert requests(gateway, "exp", "fallback_not_ready") == 3
    assert gateway.metric(EJECTED) == 1
    status = gateway.branch("exp")
    assert status["state"] == "ejected"
    assert "the feature store is away" in status["ejected"]["reason"]
    assert status["ejected"]["since"].endswith("Z")
    assert status["share"] == 0.5  # only here and for now: the split stays as it is
    assert gateway.is_ready()
    (tmp_path / "broken").unlink()
    wait_until(lambda: gateway.metric(EJECTED) == 0, 60.0, gateway.words)
    assert gateway.branch("exp")["ejected"] is None
    assert [gateway.predict([["x"]], user).json()["branch"] for user in users] == ["exp"] * 8

    def told() -> list[str]:
        found = [row["decision"] for row in decisions(remote, "exp")]
        return [word for word in found if word.startswith("eject")]

    wait_until(lambda: len(told()) == 2, describe=gateway.words)
    assert told() == ["ejected", "ejection_ended"]
    row = next(row for row in decisions(remote, "exp") if row["decision"] == "ejected")
    assert row["reason"].startswith("5 failures in a row, of different users: RuntimeError")
    assert json.loads(row["evidence"])["failures"] == 5


def test_a_callers_poison_ejects_no_branch(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path, remote, gateways, {"metrics/golden.json": GOLDEN})
    mallory, *others = islice(users_of("exp"), 4)
    for _ in range(12):
        assert gateway.predict([["poison"]], mallory).json()["branch"] == "prod"
    assert requests(gateway, "exp", "fallback_error") == 12
    assert [gateway.predict([["x"]], user).json()["branch"] for user in others] == ["exp"] * 3
    assert gateway.metric(EJECTED) == 0
    assert gateway.branch("exp")["state"] == "ready"


def test_where_nobody_else_could_answer_nothing_is_ejected(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path, remote, gateways, {}, fallback=False)
    (tmp_path / "broken").touch()
    failing = [gateway.predict([["x"]], user) for user in islice(users_of("exp"), 8)]
    assert [answer.status_code for answer in failing] == [500] * 8
    assert gateway.metric(EJECTED) == 0
    # Nor is the baseline, whatever its users meet.
    # Not the tip: rows may be committed on top of it at once.
    broken = remote.commit("prod", {"src/serve.py": CODE.format(flag=str(tmp_path / "broken"))})
    wait_until(lambda: gateway.serving("prod") == broken, describe=gateway.words)
    failing = [gateway.predict([["x"]], user) for user in islice(users_of("prod"), 8)]
    assert [answer.status_code for answer in failing] == [500] * 8
    assert gateway.metric('gateway_branch_ejected{branch="prod"}') == 0


def test_a_fix_that_is_pushed_ends_an_ejection(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path, remote, gateways, {"metrics/golden.json": GOLDEN})
    users = list(islice(users_of("exp"), 5))
    (tmp_path / "broken").touch()
    for user in users:
        gateway.predict([["x"]], user)
    assert gateway.metric(EJECTED) == 1
    remote.commit("exp", {**serve_py("exp"), "notes.txt": "no feature store any more"})
    wait_until(lambda: gateway.metric(EJECTED) == 0, describe=gateway.words)
    assert gateway.predict([["x"]], users[0]).json()["branch"] == "exp"
