"""A prediction of a branch by its name: for trying it out, and never counted as a user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from apikeys import KeysFile, bearer
from gitrepo import Remote
from running import Gateway, holds, recorded, serve_py
from waiting import wait_until

BODY = {"instances": [[1]]}
#: Answers its own name once, then only fails.
FAILS = (
    "def load(root):\n    return 0\ndef predict(model, instances):\n    raise RuntimeError('no')\n"
)
BRANCHES: dict[str, Any] = {
    "prod": {"weight": 1},
    "exp": {"weight": 0},
    "team/dev": {"shadow": True},
    "fails": {"weight": 0},
    "gone": {"weight": 0},
}


@pytest.fixture
def keys(tmp_path: Path) -> KeysFile:
    return KeysFile(
        tmp_path / "keys.yaml",
        tester=["predict", "override"],
        service=["predict"],
        half=["override"],
        reader=["read"],
    )


@pytest.fixture
def gateway(tmp_path: Path, remote: Remote, gateways: list[Gateway], keys: KeysFile) -> Gateway:
    for name in ("prod", "exp", "team/dev"):
        remote.commit(name, serve_py(name))
    remote.commit("fails", {"src/serve.py": FAILS})
    access = {"keys_file": str(keys.path)}
    gateway = Gateway(tmp_path / "g", remote, BRANCHES, access=access, ready_wait="1s")
    gateways.append(gateway)
    gateway.start()
    gateway.key = keys.keys["reader"]
    others = ("exp", "team/dev", "fails")
    wait_until(
        lambda: all(gateway.branch(name)["state"] == "ready" for name in others),
        describe=gateway.words,
    )
    return gateway


def by_header(gateway: Gateway, branch: str, key: str, **headers: str) -> httpx.Response:
    sent = {**bearer(key), "Gateway-Branch": branch, **headers}
    return httpx.post(f"{gateway.url}/predict", json=BODY, headers=sent, timeout=30)


def by_query(gateway: Gateway, branch: str, key: str) -> httpx.Response:
    sent = bearer(key)
    params = {"other": "x", "branch": branch}
    return httpx.post(f"{gateway.url}/predict", params=params, json=BODY, headers=sent, timeout=30)


def by_path(gateway: Gateway, branch: str, key: str) -> httpx.Response:
    url = f"{gateway.url}/branches/{branch}/predict"
    return httpx.post(url, json=BODY, headers=bearer(key), timeout=30)


FORMS = [by_header, by_query, by_path]


def test_a_branch_answers_who_asks_for_it_by_name_and_its_rows_are_no_users(
    gateway: Gateway, keys: KeysFile, remote: Remote
) -> None:
    tester = keys.keys["tester"]
    asked: dict[str, list[str]] = {"exp": [], "team/dev": []}
    for form in FORMS:
        for branch, written in (("exp", "exp"), ("team/dev", "team/dev"), ("team/dev", "team~dev")):
            answer = form(gateway, written, tester)
            assert answer.status_code == 200, answer.text
            assert answer.json()["branch"] == answer.headers["Gateway-Branch"] == branch
            assert answer.json()["predictions"] == [branch]
            asked[branch].append(answer.json()["request_id"])
    probe = {"X-User-Id": "ada", "User-Agent": "kube-probe/1"}  # what it asks for comes first
    answer = by_header(gateway, "exp", tester, **probe)
    asked["exp"].append(answer.json()["request_id"])
    user = httpx.post(
        f"{gateway.url}/predict",
        json=BODY,
        headers={**bearer(keys.keys["service"]), "X-User-Id": "ada"},
        timeout=30,
    )
    assert user.json()["branch"] == "prod"
    assert gateway.metric('gateway_override_requests_total{branch="exp"}') == 4
    assert gateway.metric('gateway_override_requests_total{branch="team/dev"}') == 6
    assert gateway.metric("gateway_excluded_requests_total") == 0
    counted = wait_until(lambda: gateway.get("/experiment").json().get("excluded"))
    wait_until(lambda: gateway.get("/experiment").json()["excluded"] == {"override": 10})
    assert counted
    wanted = {**asked, "prod": [user.json()["request_id"]]}
    gateway.stop_published(lambda: holds(remote, wanted))

    for branch, ids in asked.items():
        rows = {row["request_id"]: row for row in recorded(remote, branch)}
        mine = [rows[one] for one in ids]
        assert {row["reason"] for row in mine} == {"override"}
        assert {(row["assigned"], row["branch"]) for row in mine} == {(branch, branch)}
        assert {float(row["propensity"]) for row in mine} == {1.0}
    rows = {row["request_id"]: row for row in recorded(remote, "exp")}
    (ada,) = (row for row in recorded(remote, "prod") if row["unit"])
    assert rows[asked["exp"][-1]]["unit"] == ada["unit"]
    copies = [row for row in recorded(remote, "team/dev") if row["reason"] == "shadow"]
    assert {row["request_id"] for row in copies} <= {user.json()["request_id"]}
    assert remote.files("exp", "monitoring/results/") == []
    assert remote.files("exp", "monitoring/drift/") == []


def test_what_cannot_be_answered_so_says_why_and_no_other_branch_answers(
    gateway: Gateway, keys: KeysFile
) -> None:
    tester = keys.keys["tester"]
    for form in FORMS:
        answer = form(gateway, "gone", tester)
        assert (answer.status_code, answer.json()["error"]["where"]) == (503, "gone")
        answer = form(gateway, "fails", tester)
        assert answer.status_code == 500
        assert "RuntimeError: no" in answer.json()["error"]["message"]
        answer = form(gateway, "exq", tester)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == (
            "no branch 'exq' is served; there are: prod, exp, team/dev, fails, gone"
        )
        for name in ("service", "half", "reader"):
            answer = form(gateway, "exq", keys.keys[name])
            assert answer.status_code == 403
            assert "needs the scopes predict and override" in answer.json()["error"]["message"]
    assert gateway.metric('gateway_refused_requests_total{reason="no_branch"}') == len(FORMS)
    sent = {**bearer(tester), "Gateway-Branch": "exp"}
    for path in ("/predict?branch=prod", "/branches/prod/predict", "/predict?branch=exp&branch=x"):
        answer = httpx.post(gateway.url + path, json=BODY, headers=sent, timeout=30)
        assert answer.status_code == 400
        assert "name one branch" in answer.json()["error"]["message"]
    answer = httpx.post(
        f"{gateway.url}/branches/exp/predict?branch=exp", json=BODY, headers=sent, timeout=30
    )
    assert answer.json()["branch"] == "exp"
    many = "&".join("a=1" for _ in range(200))
    answer = httpx.post(f"{gateway.url}/predict?{many}", json=BODY, headers=sent, timeout=30)
    assert "at most 100 fields" in answer.json()["error"]["message"]


def test_without_keys_it_is_refused_with_what_to_set_until_the_file_says_aloud(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("prod"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    for path in ("/predict?branch=prod", "/branches/prod/predict"):
        answer = gateway.post(path, BODY)
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "forbidden")
        assert "`access: {keys_file: PATH}`" in answer.json()["error"]["message"]
    header = {"Gateway-Branch": "prod"}
    assert gateway.predict(headers=header).status_code == 403
    assert gateway.post("/predict?other=1", BODY).status_code == 200
    gateway.write(access={"anonymous": ["predict", "override", "read"]})
    wait_until(lambda: gateway.predict(headers=header).status_code == 200)
