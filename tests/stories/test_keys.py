"""Keys, as a gateway that others reach has them: who may do what, on every path."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from apikeys import KeysFile, basic, bearer
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

from gateway.access.keys_file import new_key
from gateway.access.scopes import SCOPES
from gateway.web.permissions import PERMISSIONS

BRANCHES: dict[str, Any] = {"prod": {"weight": 1}, "exp": {"weight": 0}}
BODY = {"instances": [[1]]}


@pytest.fixture
def keys(tmp_path: Path) -> KeysFile:
    """One key for each scope alone, and one with all."""
    every: dict[str, Any] = {scope: [scope] for scope in SCOPES}
    return KeysFile(tmp_path / "keys.yaml", **every, all=list(SCOPES))


@pytest.fixture
def gateway(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], keys: KeysFile
) -> Iterator[Gateway]:
    """One that all addresses reach."""
    for name in BRANCHES:
        remote.commit(name, serve_py(name))
    access = {"keys_file": str(keys.path)}
    gateway = Gateway(tmp_path / "g", remote, BRANCHES, listen="0.0.0.0:0", access=access)
    gateways.append(gateway)
    gateway.start()
    gateway.url = gateway.url.replace("0.0.0.0", "127.0.0.1")
    yield gateway
    assert gateway.stop() == 0
    said = gateway.words()
    assert not [name for name, key in keys.keys.items() if key in said]


def asked(gateway: Gateway, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    names = {"branch": "exp", "kind": "drift", "request_id": "x", "name": "x", "file": "x"}
    url = gateway.url + path.replace(":path", "").format(**names)
    with httpx.stream(method, url, headers=headers, timeout=30, json=BODY) as answer:
        # A stream of events that is admitted has no end.
        if not answer.headers["content-type"].startswith("text/event-stream"):
            answer.read()
    return answer


def test_each_scope_opens_its_routes_and_no_other(gateway: Gateway, keys: KeysFile) -> None:
    for (method, path), needs in PERMISSIONS.items():
        if not needs:
            assert asked(gateway, method, path, {}).status_code not in (401, 403), path
            continue
        assert asked(gateway, method, path, {}).status_code == 401, path
        # After twenty of them, wrong keys of one address are told to wait.
        assert asked(gateway, method, path, bearer(new_key())).status_code in (401, 429), path
        for scope in SCOPES:
            answer = asked(gateway, method, path, bearer(keys.keys[scope]))
            may = set(needs) <= {scope}
            assert (answer.status_code != 403) == may, (path, scope, answer.text)
            if not may:
                assert f"the key {scope} has the scope {scope}" in answer.json()["error"]["message"]
        assert asked(gateway, method, path, basic(keys.keys["all"])).status_code not in (401, 403)


def test_the_short_way_of_predictions_asks_for_a_key_and_keeps_its_connection(
    gateway: Gateway, keys: KeysFile
) -> None:
    with httpx.Client(base_url=gateway.url, timeout=30) as client:
        for _ in range(2):
            refused = client.post("/predict", json=BODY)
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == 'Basic realm="branch gateway", Bearer'
            assert refused.json()["error"]["type"] == "unauthorised"
            answer = client.post("/predict", json=BODY, headers=bearer(keys.keys["predict"]))
            assert answer.json()["branch"] == "prod"
            wrong = client.post("/predict", json=BODY, headers=bearer(keys.keys["read"]))
            assert (wrong.status_code, wrong.json()["error"]["type"]) == (403, "forbidden")
    gateway.key = keys.keys["read"]
    assert gateway.metric('gateway_refused_requests_total{reason="access"}') == 4
    assert gateway.metric('gateway_access_refused_requests_total{reason="missing"}') == 2
    assert gateway.metric("gateway_connections") <= 2


def test_a_key_is_rotated_while_requests_run_and_none_fails(
    gateway: Gateway, keys: KeysFile
) -> None:
    old = keys.keys["predict"]
    statuses: list[int] = []
    current, done = [old], threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=gateway.url, timeout=30) as client:
            while not done.is_set():
                answer = client.post("/predict", json=BODY, headers=bearer(current[0]))
                statuses.append(answer.status_code)

    callers = [threading.Thread(target=ask) for _ in range(2)]
    for caller in callers:
        caller.start()
    new = keys.add("predict", ["predict"])
    keys.write()
    wait_until(lambda: "added predict" in gateway.words(), describe=gateway.words)
    current[0] = new
    mark = len(statuses)
    wait_until(lambda: len(statuses) > mark + 20)
    keys.drop(old)
    keys.write()
    wait_until(lambda: "removed predict" in gateway.words(), describe=gateway.words)
    mark = len(statuses)
    wait_until(lambda: len(statuses) > mark + 20)
    done.set()
    for caller in callers:
        caller.join()
    assert set(statuses) == {200}
    late = httpx.post(f"{gateway.url}/predict", json=BODY, headers=bearer(old), timeout=30)
    assert late.status_code == 401


def test_a_bad_file_of_keys_keeps_the_old_ones_and_says_so_everywhere(
    gateway: Gateway, keys: KeysFile
) -> None:
    gateway.key = keys.keys["read"]
    good = keys.path.read_text()
    secret = new_key()
    keys.put(good.replace('"name": "read"', f'"name": "{secret}", "scope": 1'))
    wait_until(lambda: "the former keys stay in force" in gateway.words())
    access = gateway.get("/branches").json()["access"]
    assert access["state"] == "refused"
    assert "keys[4].scope: is not a setting. Did you mean scopes?" in access["reason"]
    assert access["keys"] == 6
    assert gateway.metric("gateway_keys_file_up") == 0
    keys.path.unlink()
    wait_until(lambda: "No such file" in gateway.get("/branches").json()["access"]["reason"])
    keys.put(good)
    wait_until(lambda: gateway.metric("gateway_keys_file_up") == 1)
    assert gateway.get("/branches").json()["access"]["reason"] is None
    assert secret not in gateway.words()


def test_what_anybody_may_do_and_which_file_holds_the_keys_change_without_a_restart(
    tmp_path: Path, gateway: Gateway, keys: KeysFile
) -> None:
    other = KeysFile(tmp_path / "other.yaml", ada=["read"])
    gateway.write(access={"keys_file": str(other.path), "anonymous": ["predict"]})
    wait_until(lambda: gateway.predict().status_code == 200)
    gateway.key = other.keys["ada"]
    wait_until(lambda: gateway.get("/branches").status_code == 200)
    gateway.key = keys.keys["read"]
    # After twenty wrong ones, of those above, it is told to wait.
    assert gateway.get("/branches").status_code in (401, 429)
    gateway.key = other.keys["ada"]
    gateway.write(access={})
    wait_until(lambda: gateway.get("/branches").json()["configuration"]["state"] == "refused")
    reason = gateway.get("/branches").json()["configuration"]["reason"]
    assert "listen: must be of this machine" in reason


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_gateway_that_others_reach_is_refused_unless_somebody_said_who_may_come_in(
    tmp_path: Path, command: str
) -> None:
    file = tmp_path / "gateway.yaml"
    settings = {"repository": "/r", "baseline": "prod", "branches": {"prod": {"weight": 1}}}
    file.write_text(json.dumps({**settings, "listen": "0.0.0.0:0"}))
    asking = [sys.executable, "-m", "gateway", command, str(file)]
    done = subprocess.run(asking, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "listen: must be of this machine, such as 127.0.0.1:8080" in done.stderr
    for way_out in (
        "`access: {keys_file: PATH}`",
        "`access: {anonymous: [predict, feedback, read]}`",
    ):
        assert way_out in done.stderr


def test_a_check_says_who_may_do_what_and_what_is_wrong_with_the_keys(tmp_path: Path) -> None:
    keys = KeysFile(tmp_path / "keys.yaml", ci=["read"])
    file = tmp_path / "gateway.yaml"
    settings = {"repository": "/r", "baseline": "prod", "branches": {"prod": {"weight": 1}}}
    access = {"keys_file": "keys.yaml", "anonymous": ["predict"]}
    file.write_text(json.dumps({**settings, "listen": "0.0.0.0:0", "access": access}))
    asking = [sys.executable, "-m", "gateway", "check", str(file)]
    done = subprocess.run(asking, capture_output=True, text=True, timeout=60)
    assert f"  access: 1 key in {keys.path}; without one: predict\n" in done.stdout
    keys.path.write_text("keys: [{name: ci}]")
    done = subprocess.run(asking, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.count("access")) == (2, 0)
    assert "keys.yaml:1:8: keys[0].sha256: is missing" in done.stderr
    serving = subprocess.run(
        [*asking[:3], "serve", str(file)], capture_output=True, text=True, timeout=60
    )
    assert (serving.returncode, serving.stderr) == (2, done.stderr)
    keys.path.unlink()
    done = subprocess.run(asking, capture_output=True, text=True, timeout=60)
    assert "keys.yaml, which is not here; without one: predict" in done.stdout
