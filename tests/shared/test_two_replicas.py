"""Two gateways with one Redis behave as one: the smallest of the stories of replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from gitrepo import Remote
from redisserver import RedisServer
from running import Gateway, recorded, serve_py
from waiting import wait_until

BRANCHES = {"prod": {"weight": 50}, "exp": {"weight": 50}}


@pytest.fixture
def pair(
    tmp_path: Path, remote: Remote, server: RedisServer, gateways: list[Gateway]
) -> list[Gateway]:
    for name in BRANCHES:
        remote.commit(name, serve_py(name), start="prod" if name != "prod" else None)
    environ = {"REDIS_URL": server.url, "UNIT_KEY": "the same for all of them"}
    metrics = {"conversion": {"kind": "binary", "role": "primary", "window": "2s"}}
    for name in ("one", "two"):
        gateway = Gateway(
            tmp_path / name,
            remote,
            BRANCHES,
            environ=environ,
            redis={"url_env": "REDIS_URL"},
            unit_key_env="UNIT_KEY",
            metrics=metrics,
        )
        gateways.append(gateway)
        gateway.start()
    return list(gateways)


def ask(gateway: Gateway, users: range) -> list[dict[str, Any]]:
    with httpx.Client(base_url=gateway.url, timeout=30) as client:
        found = []
        for number in users:
            sent = {"X-User-Id": f"user-{number}"}
            answer = client.post("/predict", json={"instances": [[1]]}, headers=sent)
            assert answer.status_code == 200, answer.text
            found.append(answer.json())
    return found


def test_what_either_answers_is_in_git_once_and_outcomes_go_to_either(
    pair: list[Gateway], remote: Remote
) -> None:
    one, two = pair
    answers = ask(one, range(40)) + ask(two, range(20, 60))
    by_user = [answer["branch"] for answer in answers]
    assert by_user[20:40] == by_user[40:60]  # the same user gets the same branch at both
    ids = {answer["request_id"] for answer in answers}

    def rows() -> list[str]:
        return [row["request_id"] for name in BRANCHES for row in recorded(remote, name)]

    wait_until(lambda: set(rows()) >= ids, 60, lambda: one.words() + two.words())
    assert sorted(rows()) == sorted(ids)
    # Of what the one answered the other is told.
    told = {"request_id": answers[0]["request_id"], "metric": "conversion", "value": True}
    assert httpx.post(f"{two.url}/feedback", json=told, timeout=30).status_code == 202

    def known(gateway: Gateway) -> list[dict[str, Any]]:
        path = f"/feedback/{answers[0]['request_id']}"
        found: list[dict[str, Any]] = gateway.get(path).json()["items"]
        # One whose request the experiments have not met yet waits for it.
        return [item for item in found if item["status"] != "waiting"]

    wait_until(lambda: known(one) and known(two), describe=lambda: one.words() + two.words())
    for gateway in pair:
        assert [item["status"] for item in known(gateway)] in (["accepted"], ["late"])
    wait_until(
        lambda: (
            one.get("/experiment").json()["contrasts"] == two.get("/experiment").json()["contrasts"]
            and one.get("/experiment").json()["contrasts"]
        ),
        describe=one.words,
    )


def test_what_was_answered_last_is_published_at_the_end(
    pair: list[Gateway], remote: Remote
) -> None:
    """By whoever leads, or it waits in Redis for who comes."""
    one, two = pair
    ids = {answer["request_id"] for answer in ask(one, range(10)) + ask(two, range(10))}
    assert one.stop() == 0
    ids |= {answer["request_id"] for answer in ask(two, range(10))}
    wait_until(lambda: two.branch("prod") and _leads(two), describe=two.words)
    assert two.stop() == 0
    rows = [row["request_id"] for name in BRANCHES for row in recorded(remote, name)]
    assert sorted(rows) == sorted(ids)


def _leads(gateway: Gateway) -> bool:
    return bool(gateway.get("/branches").json()["shared"]["role"] == "leads")
