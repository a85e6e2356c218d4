"""More than a branch can answer, or a branch that hangs: bounded, said, and no one else's trouble.

Branches here wait for files (`sins/sleeps`), so that nothing depends on how fast a machine is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from gitrepo import Remote
from running import Gateway, recorded, serve_py
from waiting import wait_until
from workers.fleets import sin

from gateway.assignment import Split
from gateway.names import Branch

LONG = "60s"
RAISES = "def predict(model, instances):\n    raise KeyError('no such feature')\n"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Callers that wait beside the test."""
    with ThreadPoolExecutor(64) as found:
        yield found


class Gates:
    """Requests to a branch of `sins/sleeps`, each held until it is let go; all are, at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = count()

    def new(self) -> Path:
        return self._folder / f"gate-{next(self._made)}"

    @staticmethod
    def begun(gate: Path) -> bool:
        return gate.with_suffix(".begun").exists()

    def open(self) -> None:
        for number in range(next(self._made)):
            (self._folder / f"gate-{number}").touch()


@pytest.fixture
def gates(tmp_path: Path) -> Iterator[Gates]:
    folder = tmp_path / "gates"
    folder.mkdir()
    found = Gates(folder)
    yield found
    found.open()


def start(
    folder: Path,
    remote: Remote,
    gateways: list[Gateway],
    code: dict[str, str],
    branches: dict[str, dict[str, Any]],
    **settings: Any,
) -> Gateway:
    """A gateway with these branches, each of its own code; prod is the baseline."""
    for name, source in code.items():
        remote.commit(name, {"src/serve.py": source}, start=None if name == "prod" else "prod")
    # Its branches mark files, which a contained one may not.
    gateway = Gateway(folder / "g", remote, branches, sandbox="off", **settings)
    gateways.append(gateway)
    return gateway.start()


def users_of(branch: str, weights: dict[str, float]) -> Iterator[str]:
    split = Split("gateway", {Branch(name): weight for name, weight in weights.items()})
    return (user for user in map(str, count()) if split.assign(user) == branch)


def hurry(milliseconds: object) -> dict[str, str]:
    return {"Gateway-Timeout-Ms": str(milliseconds)}


def requests(gateway: Gateway, branch: str, status: str) -> float:
    return gateway.metric(f'gateway_requests_total{{branch="{branch}",status="{status}"}}')


def rows(gateway: Gateway, branch: str) -> float:
    return gateway.metric(f'gateway_rows_total{{branch="{branch}"}}')


# A caller's deadline


def test_a_deadline_that_is_none_is_refused_with_what_would_be_right(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    good = serve_py("good")["src/serve.py"]
    gateway = start(tmp_path, remote, gateways, {"prod": good}, {"prod": {"weight": 1}})
    refused = gateway.predict(headers=hurry("2s"))
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["where"] == "header Gateway-Timeout-Ms"
    assert error["message"].endswith("milliseconds above 0, such as 250. Given: '2s'")
    assert refused.headers["Gateway-Request-Id"]
    assert gateway.predict(headers=hurry(20_000)).json()["predictions"] == ["good"]


def test_a_callers_deadline_is_a_504_and_not_another_wait_for_the_baseline(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], gates: Gates
) -> None:
    gateway = start(
        tmp_path,
        remote,
        gateways,
        {"prod": serve_py("good")["src/serve.py"], "exp": sin("sleeps")},
        {"prod": {"weight": 0}, "exp": {"weight": 1, "timeout": LONG}},
    )
    late = gateway.predict([[str(gates.new())]], headers=hurry(1000))
    assert late.status_code == 504
    assert late.json()["error"]["message"] == "no answer within its caller's deadline"
    assert late.headers["Retry-After"]
    assert requests(gateway, "exp", "timeout") == 1
    assert rows(gateway, "prod") == 0
    asked = late.headers["Gateway-Request-Id"]

    def row() -> list[dict[str, str]]:
        return [row for row in recorded(remote, "exp") if row["request_id"] == asked]

    wait_until(row, describe=gateway.words)
    assert [(r["status"], r["branch"], r["assigned"]) for r in row()] == [("timeout", "exp", "exp")]


def test_the_branchs_own_timeout_falls_back_also_under_a_longer_deadline(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], gates: Gates
) -> None:
    gateway = start(
        tmp_path,
        remote,
        gateways,
        {"prod": serve_py("good")["src/serve.py"], "exp": sin("sleeps")},
        {"prod": {"weight": 0, "timeout": LONG}, "exp": {"weight": 1, "timeout": "300ms"}},
    )
    answer = gateway.predict([[str(gates.new())]], headers=hurry(25_000))
    assert (answer.status_code, answer.json()["branch"]) == (200, "prod")
    assert requests(gateway, "exp", "fallback_timeout") == 1


def test_a_fallback_has_only_the_time_that_is_left_to_its_caller(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], gates: Gates
) -> None:
    gateway = start(
        tmp_path,
        remote,
        gateways,
        {"prod": sin("sleeps"), "exp": RAISES},
        {"prod": {"weight": 0, "timeout": LONG}, "exp": {"weight": 1, "timeout": LONG}},
    )
    gate = gates.new()
    late = gateway.predict([[str(gate)]], headers=hurry(400))
    assert late.status_code == 504
    assert requests(gateway, "exp", "timeout") == 1
    gate.touch()
    answer = gateway.predict([[0]], headers=hurry(25_000))
    assert (answer.status_code, answer.json()["branch"]) == (200, "prod")
    assert requests(gateway, "exp", "fallback_error") == 1


def test_what_waited_past_its_deadline_is_never_computed(
    tmp_path: Path,
    remote: Remote,
    gateways: list[Gateway],
    gates: Gates,
    pool: ThreadPoolExecutor,
) -> None:
    gateway = start(
        tmp_path,
        remote,
        gateways,
        {"prod": sin("sleeps")},
        {"prod": {"weight": 1, "timeout": LONG}},
    )
    first, second = gates.new(), gates.new()
    held = pool.submit(gateway.predict, [[str(first)]])
    wait_until(lambda: gates.begun(first))
    assert gateway.predict([[str(second)]], headers=hurry(100)).status_code == 504
    first.touch()
    assert held.result().status_code == 200
    assert gateway.predict([[0]]).status_code == 200
    assert not gates.begun(second)


# A full queue


@contextmanager
def full(
    gateway: Gateway, gates: Gates, pool: ThreadPoolExecutor, branch: str, user: str, waiting: int
) -> Iterator[list[Future[httpx.Response]]]:
    """The branch's only worker held by a request, and so many rows behind it."""
    gate = gates.new()
    asked = [pool.submit(gateway.predict, [[str(gate)]], user)]
    wait_until(lambda: gates.begun(gate))
    asked += [pool.submit(gateway.predict, [[0]], user) for _ in range(waiting)]
    gauge = f'gateway_queue_rows{{branch="{branch}"}}'
    wait_until(lambda: gateway.metric(gauge) == waiting, describe=gateway.words)
    yield asked
    gate.touch()


def test_a_full_queue_is_a_503_at_once_that_says_when_to_come_again(
    tmp_path: Path,
    remote: Remote,
    gateways: list[Gateway],
    gates: Gates,
    pool: ThreadPoolExecutor,
) -> None:
    gateway = start(
        tmp_path,
        remote,
        gateways,
        {"prod": sin("sleeps")},
        {"prod": {"weight": 1, "timeout": LONG}},
        limits={"queue_rows": 3},
    )
    with full(gateway, gates, pool, "prod", "u", 3) as asked:
        refused = [gateway.predict([[0]]) for _ in range(5)]
        assert [answer.status_code for answer in refused] == [503] * 5
        assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
        message = refused[0].json()["error"]["message"]
        assert message == "3 rows are waiting; the bound is 3"
    assert [future.result().status_code for future in asked] == [200] * 4
    assert requests(gateway, "prod", "overload") == 5
    assert gateway.predict([[0]]).status_code == 200


def test_over_a_candidates_queue_the_baseline_answers_unless_it_may_not(
    tmp_path: Path,
    remote: Remote,
    gateways: list[Gateway],
    gates: Gates,
    pool: ThreadPoolExecutor,
) -> None:
    weights = {"prod": 1.0, "may": 1.0, "alone": 1.0}
    gateway = start(
        tmp_path,
        remote,
        gateways,
        {"prod": serve_py("good")["src/serve.py"], "may": sin("sleeps"), "alone": sin("sleeps")},
        {
            "prod": {"weight": 1},
            "may": {"weight": 1, "timeout": LONG},
            "alone": {"weight": 1, "timeout": LONG, "fallback": False},
        },
        limits={"queue_rows": 2},
    )
    may, alone = next(users_of("may", weights)), next(users_of("alone", weights))
    with (
        full(gateway, gates, pool, "may", may, 2) as first,
        full(gateway, gates, pool, "alone", alone, 2) as second,
    ):
        answer = gateway.predict([[0]], may)
        assert (answer.status_code, answer.json()["branch"]) == (200, "prod")
        refused = gateway.predict([[0]], alone)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert {future.result().json()["branch"] for future in first} == {"may"}
    assert {future.result().json()["branch"] for future in second} == {"alone"}
    assert requests(gateway, "may", "fallback_overload") == 1
    assert requests(gateway, "alone", "overload") == 1


def test_a_branch_that_hangs_and_is_flooded_is_no_other_branchs_trouble(
    tmp_path: Path,
    remote: Remote,
    gateways: list[Gateway],
    gates: Gates,
    pool: ThreadPoolExecutor,
) -> None:
    weights = {"prod": 1.0, "exp": 1.0}
    gateway = start(
        tmp_path,
        remote,
        gateways,
        {"prod": serve_py("good")["src/serve.py"], "exp": sin("sleeps")},
        {"prod": {"weight": 1}, "exp": {"weight": 1, "timeout": LONG, "fallback": False}},
        limits={"queue_rows": 8},
    )
    theirs, ours = next(users_of("exp", weights)), users_of("prod", weights)
    with full(gateway, gates, pool, "exp", theirs, 8):
        flood = [pool.submit(gateway.predict, [[0]], theirs) for _ in range(200)]
        answers = [gateway.predict([[0]], next(ours)) for _ in range(50)]
        assert [a.status_code for a in answers] == [200] * 50
        assert {a.json()["branch"] for a in answers} == {"prod"}
        assert Counter(future.result().status_code for future in flood) == {503: 200}
        assert gateway.metric('gateway_queue_rows{branch="exp"}') == 8
    assert requests(gateway, "prod", "ok") == 50
    assert gateway.branch("prod")["state"] == "ready"


# Several workers


def test_several_workers_of_a_branch_share_its_load(
    tmp_path: Path,
    remote: Remote,
    gateways: list[Gateway],
    gates: Gates,
    pool: ThreadPoolExecutor,
) -> None:
    code = (
        sin("sleeps")
        .replace("[0 for", "[os.getpid() for")
        .replace("import time", "import os, time")
    )
    gateway = start(
        tmp_path,
        remote,
        gateways,
        {"prod": code},
        {"prod": {"weight": 1, "workers": 3, "timeout": LONG}},
    )
    held = [gates.new() for _ in range(3)]
    asked = [pool.submit(gateway.predict, [[str(gate)]]) for gate in held]
    wait_until(lambda: all(map(gates.begun, held)), describe=gateway.words)
    workers = gateway.branch("prod")["workers"]
    assert [worker["state"] for worker in workers] == ["busy"] * 3
    gates.open()
    answered = {future.result().json()["predictions"][0] for future in asked}
    assert answered == {worker["pid"] for worker in workers}
    assert gateway.metric('gateway_workers{branch="prod"}') == 3
    assert json.loads(gateway.get("/branches").text)["branches"]["prod"]["state"] == "ready"
