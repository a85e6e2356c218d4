"""What is said to one replica, or decided by one, is in force at all of them within seconds."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gitrepo import Remote
from redisserver import RedisServer
from replicas import Replicas
from running import Gateway, serve_py
from waiting import wait_until

SECRET = "correct horse battery staple"
BRANCHES = {"prod": {"weight": 60}, "exp": {"weight": 30}, "other": {"weight": 10}}
USERS = [f"user-{number}" for number in range(60)]
pytestmark = pytest.mark.timeout(500)
#: Fails for everybody, but not when it is loaded.
BROKEN = """
def load(root):
    return None
def predict(model, instances):
    raise RuntimeError("the feature store is away")
"""


def arms(front: Gateway) -> dict[str, str]:
    """Who answers each user here."""
    with httpx.Client(base_url=front.url, timeout=30) as client:
        found = {}
        for user in USERS:
            sent = {"X-User-Id": user}
            answer = client.post("/predict", json={"instances": [[1]]}, headers=sent)
            assert answer.status_code == 200, answer.text
            found[user] = str(answer.json()["branch"])
        return found


def states(replicas: Replicas) -> list[str | None]:
    """Of the order for exp, at each of them."""
    orders = [front.branch("exp")["allocation"] or {} for front in replicas.fronts]
    return [order.get("state") for order in orders]


@pytest.fixture
def replicas(tmp_path: Path, remote: Remote, server: RedisServer) -> Iterator[Replicas]:
    """None of them looks into the repository by itself."""
    for name in BRANCHES:
        remote.commit(name, serve_py(name), start="prod" if name != "prod" else None)
    secret = tmp_path / "webhook.secret"
    secret.write_text(SECRET)
    with Replicas(
        tmp_path, remote, BRANCHES, server, poll="1h", webhook={"secret_file": str(secret)}
    ) as replicas:
        yield replicas


def call(front: Gateway) -> None:
    """As the git server does after a push: this replica alone."""
    mac = hmac.new(SECRET.encode(), b"{}", hashlib.sha256)
    headers = {"X-Hub-Signature-256": f"sha256={mac.hexdigest()}", "X-GitHub-Event": "push"}
    answer = httpx.post(f"{front.url}/webhooks/git", content=b"{}", headers=headers, timeout=30)
    assert answer.status_code == 202, answer.text


def serving(replicas: Replicas) -> list[str | None]:
    return [front.serving("exp") for front in replicas.fronts]


def test_a_webhook_at_one_replica_has_all_of_them_look(replicas: Replicas) -> None:
    replicas.leads()
    replicas.until_well()
    for front in replicas.fronts:
        tip = replicas.remote.commit("exp", serve_py(f"by {front.folder.name}"))
        call(front)
        wait_until(lambda tip=tip: serving(replicas) == [tip] * 3, 60.0, replicas.words)  # type: ignore[misc]


def test_an_operators_word_at_one_replica_is_in_force_at_all(replicas: Replicas) -> None:
    before = [arms(front) for front in replicas.fronts]
    assert before[0] == before[1] == before[2]
    holder = replicas.leads()
    replicas.until_well()
    for front in replicas.fronts:
        others = [one for one in replicas.fronts if one is not front]
        said = replicas.command(front, "hold", "exp", "--out", "--reason", "a look at its logs")
        assert "0 % of the users" in said
        wait_until(
            lambda: [one.branch("exp")["share"] for one in replicas.fronts] == [0, 0, 0],
            60.0,
            replicas.words,
        )
        for one in replicas.fronts:
            assert "a look at its logs" in one.branch("exp")["allocation"]["reason"]
        during = [arms(one) for one in replicas.fronts]
        assert during[0] == during[1] == during[2]
        assert {user for user in USERS if during[0][user] != before[0][user]} == {
            user for user in USERS if before[0][user] == "exp"
        }
        replicas.command(others[0], "release", "exp")
        wait_until(lambda: [arms(one) for one in replicas.fronts] == before, 60.0, replicas.words)
    # It outlives who was told of it.
    replicas.command(holder, "hold", "exp", "--out")
    replicas.kill(holder)
    replicas.until_another_leads(holder)
    replicas.start(holder)
    replicas.until_well()
    wait_until(
        lambda: [one.branch("exp")["share"] for one in replicas.fronts] == [0, 0, 0],
        describe=replicas.words,
    )


def test_a_content_that_does_harm_at_all_is_ejected_at_all(replicas: Replicas) -> None:
    """By the failures of all together: what each saw alone is too little."""
    before = arms(replicas.fronts[0])
    replicas.leads()
    broken = replicas.remote.commit("exp", {"src/serve.py": BROKEN})
    call(replicas.fronts[1])
    wait_until(lambda: serving(replicas) == [broken] * 3, 60.0, replicas.words)

    def ejected() -> bool:
        for front in replicas.fronts:
            arms(front)
        return states(replicas) == ["ejected"] * 3

    wait_until(ejected, 60.0, lambda: (states(replicas), replicas.words()))
    after = [arms(front) for front in replicas.fronts]
    assert after[0] == after[1] == after[2]
    assert {user for user in USERS if after[0][user] != before[user]} == {
        user for user in USERS if before[user] == "exp"
    }

    # The read-outs are files of the monitors, looked at once a second.
    def shown() -> list[str | None]:
        return [one["allocation"].get("exp", {}).get("state") for one in replicas.read_outs()]

    wait_until(lambda: shown() == ["ejected"] * 3, 60.0, shown)
    # A fix, seen by one of them, has its users back everywhere.
    fixed = replicas.remote.commit("exp", serve_py("exp, fixed"))
    call(replicas.fronts[2])
    wait_until(lambda: serving(replicas) == [fixed] * 3, 60.0, replicas.words)
    wait_until(lambda: [arms(front) for front in replicas.fronts] == [before] * 3)


def test_a_git_server_that_hangs_keeps_no_decision_from_the_others(replicas: Replicas) -> None:
    """An ejection that is due while the holder waits for a push to end, and an operator's word."""
    place = replicas.remote.path
    hanging, gate = place / "hanging", place / "gate"
    with gate.open("w") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        wait = f"touch {hanging}; flock {gate} true"
        replicas.remote.hook("pre-receive", f"case $HOME in */replica-*) {wait};; esac")
        holder = replicas.leads()
        other = next(front for front in replicas.fronts if front is not holder)
        arms(holder)
        wait_until(hanging.exists, 60.0, replicas.words)
        before = replicas.pushes()
        tip = replicas.remote.commit("exp", {"src/serve.py": BROKEN})
        call(other)
        wait_until(lambda: serving(replicas) == [tip] * 3, 60.0, replicas.words)

        def ejected() -> bool:
            for front in replicas.fronts:
                arms(front)
            return states(replicas) == ["ejected"] * 3

        wait_until(ejected, 60.0, lambda: (states(replicas), replicas.words()))
        replicas.command(other, "hold", "other", "--out")
        wait_until(
            lambda: [front.branch("other")["share"] for front in replicas.fronts] == [0, 0, 0]
        )
        assert replicas.holder() is holder
        assert replicas.pushes() == before


def test_a_replica_with_other_settings_is_told_of_by_all(replicas: Replicas) -> None:
    replicas.leads()
    replicas.until_well()
    odd = replicas.fronts[2]
    odd.write(branches={**BRANCHES, "other": {"weight": 20}})

    def skewed() -> bool:
        return all(
            any("config differs" in line for line in replicas.shared(front)["skew"])
            for front in replicas.fronts
        )

    wait_until(skewed, 60.0, replicas.words)
    odd.write(branches=BRANCHES)
    wait_until(
        lambda: not any(replicas.shared(front)["skew"] for front in replicas.fronts),
        60.0,
        replicas.words,
    )
