"""An operator's word over HTTP: in force, in the audit, and by name in git."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from apikeys import KeysFile, basic, bearer
from gitrepo import Remote
from running import Gateway, serve_py
from secretwatch import SecretWatch
from waiting import wait_until

BRANCHES: dict[str, Any] = {
    "prod": {"weight": 1},
    "exp": {"weight": 1},
    "dev": {"shadow": True},
}


def started(tmp_path: Path, remote: Remote, gateways: list[Gateway], **settings: Any) -> Gateway:
    for name in BRANCHES:
        remote.commit(name, serve_py(name))
    gateway = Gateway(tmp_path / "g", remote, BRANCHES, **settings)
    gateways.append(gateway)
    gateway.start()
    return gateway


def audit(gateway: Gateway) -> list[dict[str, str]]:
    """The lines of the audit, without time and words."""
    lines = [json.loads(line) for line in gateway.words().splitlines() if "gateway.audit" in line]
    names = ("who", "what", "address", "result", "branch")
    return [{name: line[name] for name in names if name in line} for line in lines]


def decisions(remote: Remote, branch: str) -> list[dict[str, str]]:
    files = remote.files(branch, "monitoring/decisions/")
    return [row for file in files for row in csv.DictReader(io.StringIO(remote.read(branch, file)))]


def test_a_hold_and_a_release_by_key_are_in_force_in_the_audit_and_in_git(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    keys = KeysFile(tmp_path / "keys.yaml", **{"on-call": ["operate", "read"]}, reader=["read"])
    key = keys.keys["on-call"]
    watch = SecretWatch("any", *keys.keys.values())
    gateway = started(
        tmp_path,
        remote,
        gateways,
        access={"keys_file": str(keys.path), "anonymous": ["predict"]},
    )
    gateway.key = key
    gateway.until_steered()
    said = {"out": True, "reason": "a freeze"}
    answer = gateway.post("/branches/exp/hold", said)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "branch": "exp",
            "action": "hold",
            "state": "held",
            "share": 0.0,
            "text": "exp is held, 0 % of the users: has no users, by an operator: a freeze",
        },
    )
    wait_until(
        lambda: {gateway.predict(unit=str(n)).json()["branch"] for n in range(20)} == {"prod"}
    )
    watch.look()
    gateway.key = keys.keys["reader"]
    assert gateway.post("/branches/exp/release", {}).status_code == 403
    gateway.key = key
    environ = {**os.environ, "GATEWAY_KEY": key}
    command = [sys.executable, "-m", "gateway", "release", "exp", "--url", gateway.url]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "exp has the users that gateway.yaml gives it\n"
    local = [sys.executable, "-m", "gateway", "hold", "exp", "--config", str(gateway.file)]
    assert subprocess.run(local, capture_output=True, timeout=60).returncode == 0

    def lines() -> list[dict[str, str]]:
        return [line for line in audit(gateway) if line["what"] != "configuration"]

    expected = [
        _line("on-call", "hold", "in_force", "127.0.0.1"),
        {
            "who": "reader",
            "what": "POST /branches/exp/release",
            "address": "127.0.0.1",
            "result": "refused",
        },
        _line("on-call", "release", "in_force", "127.0.0.1"),
        _line("local", "hold", "in_force", "local"),
    ]
    # The last is the monitor's, which says it once the command is done.
    wait_until(lambda: len(lines()) == len(expected), describe=lines)
    assert lines() == expected
    watch.look()
    gateway.stop_published(
        lambda: "released" in [row["decision"] for row in decisions(remote, "exp")]
    )
    found = [(row["decision"], row["reason"]) for row in decisions(remote, "exp")]
    assert ("held", "gets no users, by an operator (on-call): a freeze") in found
    (released,) = (row for row in decisions(remote, "exp") if row["decision"] == "released")
    assert json.loads(released["evidence"])["by"] == "on-call"
    assert watch.found == set()
    assert watch.files(gateway.folder) == []
    assert watch.files(remote.path) == []


def _line(who: str, what: str, result: str, address: str) -> dict[str, str]:
    return {"who": who, "what": what, "address": address, "result": result, "branch": "exp"}


def test_a_browsers_password_operates_for_the_gateways_own_pages_alone(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    keys = KeysFile(tmp_path / "keys.yaml", ada=["operate", "read"])
    gateway = started(tmp_path, remote, gateways, access={"keys_file": str(keys.path)})
    gateway.until_steered()
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
        sent = {**basic(keys.keys["ada"]), "Sec-Fetch-Site": site}
        assert gateway.post("/branches/exp/hold", {}, headers=sent).status_code == status
    sent = {**bearer(keys.keys["ada"]), "Host": "gateway.example"}
    assert gateway.post("/branches/exp/release", {}, headers=sent).status_code == 200
