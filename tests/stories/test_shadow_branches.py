"""A shadow gets copies and answers nobody: whatever becomes of it, users are served the same."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Remote
from running import Gateway, holds, recorded, serve_py
from traffic import Traffic
from waiting import wait_until

#: A classifier whose probabilities hang on the row, moved by `by`.
SCORES = """
def predict(model, instances):
    shares = [min(1.0, row[0] / 10 + {by}) for row in instances]
    return {{
        "predictions": [int(share > 0.5) for share in shares],
        "probabilities": [[1 - share, share] for share in shares],
    }}
"""
BAD: dict[str, dict[str, str]] = {
    "absent": {},
    "broken": {"src/serve.py": "import no_such_library\n"},
    "hangs_on_import": {"src/serve.py": "import time\ntime.sleep(3600)\n"},
    "dies_on_import": {"src/serve.py": "import os\nos._exit(7)\n"},
    "hangs": {
        "src/serve.py": "import time\ndef predict(model, instances):\n    time.sleep(3600)\n"
    },
    "raises": {
        "src/serve.py": "def predict(model, instances):\n    raise KeyError('no such feature')\n"
    },
    "killed": {
        "src/serve.py": "import os\ndef predict(model, instances):\n    os.kill(os.getpid(), 9)\n"
    },
}
#: Holds whatever a slow machine makes it hold.
PATIENT = {"shadow": True, "timeout": "60s", "shadow_rows": 100_000}


def scores(by: float) -> dict[str, str]:
    return {"src/serve.py": SCORES.format(by=by)}


def shadow(gateway: Gateway, branch: str = "dev") -> dict[str, Any]:
    found: dict[str, Any] = gateway.branch(branch)["shadow"]
    return found


def keys(rows: Iterable[dict[str, str]]) -> list[tuple[str, str]]:
    return sorted((row["request_id"], row["row"]) for row in rows)


def asked(traffic: Traffic, rows: int) -> list[tuple[str, str]]:
    ids = [body["request_id"] for body in traffic.answered]
    return sorted((request_id, str(row)) for request_id in ids for row in range(rows))


def answered_by(remote: Remote) -> set[str]:
    """The requests that users had answered, by any branch."""
    rows = [row for branch in ("prod", "exp", "dev") for row in recorded(remote, branch)]
    return {row["request_id"] for row in rows if row["reason"] == "split"}


def settled(gateway: Gateway, requests: int, rows: int = 1) -> None:
    """Wait until every copy of so many requests has come to its end."""

    def ended() -> float:
        now = shadow(gateway)
        dropped = sum(now["dropped_rows"].values()) / rows
        return float(sum(now["requests"].values()) + dropped)

    wait_until(lambda: ended() == requests, describe=lambda: (shadow(gateway), requests))


def test_rows_are_recorded_under_the_users_request_ids_and_the_figures_are_theirs(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", scores(0.0))
    remote.commit("exp", scores(0.05), start="prod")
    remote.commit("dev", scores(0.2), start="prod")
    branches: dict[str, dict[str, Any]] = {"prod": {"weight": 1}, "exp": {"weight": 1}}
    branches["dev"] = PATIENT
    gateway = Gateway(tmp_path / "g", remote, branches)
    gateways.append(gateway)
    gateway.start()
    wait_until(lambda: gateway.branch("dev")["serving"])
    instances = [[value] for value in range(8)]
    with Traffic(gateway, instances=instances) as traffic:
        traffic.more(100)
    assert traffic.failures == []
    assert {body["branch"] for body in traffic.answered} == {"prod", "exp"}
    requests = len(traffic.answered)
    settled(gateway, requests, len(instances))
    status = shadow(gateway)
    assert not any(status["dropped_rows"].values())
    metrics = {
        (name, served): gateway.metric(f'gateway_shadow_{name}{{branch="dev",served="{served}"}}')
        for name in ("compared_rows", "agreement_ratio", "score_difference_ratio")
        for served in ("prod", "exp")
    }
    assert gateway.metric('gateway_requests_total{branch="dev",status="ok"}') == 0
    assert gateway.metric('gateway_rows_total{branch="dev"}') == 0
    ids = [body["request_id"] for body in traffic.answered]
    gateway.stop_published(lambda: holds(remote, {"dev": ids}) and answered_by(remote) >= set(ids))

    mine = recorded(remote, "dev")
    assert keys(mine) == asked(traffic, len(instances))
    said = {(r["reason"], r["branch"], r["assigned"], r["status"], r["propensity"]) for r in mine}
    assert said == {("shadow", "dev", "dev", "ok", "1.0")}
    served = {(r["request_id"], r["row"]): r for b in ("prod", "exp") for r in recorded(remote, b)}
    assert {row["reason"] for row in served.values()} == {"split"}
    pairs = [(served[row["request_id"], row["row"]], row) for row in mine]
    for one, other in pairs:
        for same in ("unit", "epoch", "features"):
            assert one[same] == other[same]
    assert [one["branch"] for one in status["agreement"]] == ["prod", "exp"]
    for shown in status["agreement"]:
        branch = shown["branch"]
        joined = [(one, other) for one, other in pairs if one["branch"] == branch]
        equal = sum(one["prediction"] == other["prediction"] for one, other in joined)
        differences = [abs(float(one["score"]) - float(other["score"])) for one, other in joined]
        assert (shown["rows"], shown["equal_rows"]) == (len(joined), equal)
        assert shown["scored_rows"] == len(joined)
        assert 0 < shown["equal_share"] == equal / len(joined) < 1
        mean = sum(differences) / len(differences)
        assert shown["score_difference"] == pytest.approx(mean, abs=1e-12)
        assert metrics["compared_rows", branch] == len(joined)
        assert metrics["agreement_ratio", branch] == shown["equal_share"]
        assert metrics["score_difference_ratio", branch] == shown["score_difference"]


@pytest.mark.parametrize("sin", BAD)
def test_whatever_a_shadow_does_users_are_answered_as_without_one(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], sin: str
) -> None:
    remote.commit("prod", scores(0.0))
    if BAD[sin]:
        remote.commit("dev", BAD[sin], start="prod")
    dev = {**PATIENT, "timeout": "400ms"} if sin in ("hangs", "killed") else PATIENT
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}, "dev": dev})
    gateways.append(gateway)
    gateway.start()  # and is ready, with a shadow that never will be
    if sin in ("broken", "dies_on_import"):
        wait_until(lambda: gateway.metric('gateway_branch_quarantined{branch="dev"}') == 1)
    if sin in ("hangs", "raises", "killed"):
        wait_until(lambda: gateway.branch("dev")["serving"])
    instances = [[2.5], [7.5]]
    with Traffic(gateway, instances=instances) as traffic:
        traffic.more(200)
    assert traffic.failures == []
    expected = {
        "predictions": [0, 1],
        "branch": "prod",
        "probabilities": [[0.75, 0.25], [0.25, 0.75]],
    }
    for body in traffic.answered:
        assert {key: body[key] for key in expected} == expected
    requests = len(traffic.answered)
    settled(gateway, requests, 2)
    assert gateway.is_ready()
    assert gateway.metric('gateway_requests_total{branch="prod",status="ok"}') == requests
    assert not any(
        value != 0 for line, value in samples(gateway, "gateway_requests_total") if "dev" in line
    )
    now = shadow(gateway)
    assert now["agreement"] == []
    given = 2 * sum(now["requests"].values())
    gateway.stop_published(
        lambda: (
            keys(recorded(remote, "prod")) == asked(traffic, 2)
            and (not BAD[sin] or len(recorded(remote, "dev")) >= given)
        )
    )
    assert keys(recorded(remote, "prod")) == asked(traffic, 2)
    check_rows_of_a_bad_shadow(remote, sin, now, asked(traffic, 2))


def samples(gateway: Gateway, family: str) -> list[tuple[str, float]]:
    lines = gateway.get("/metrics").text.splitlines()
    split = (line.rpartition(" ") for line in lines if line.startswith(family + "{"))
    return [(name, float(value)) for name, _, value in split]


def check_rows_of_a_bad_shadow(
    remote: Remote, sin: str, now: dict[str, Any], requests: list[tuple[str, str]]
) -> None:
    """A row for each instance that it was given, and none for what it was not."""
    if not BAD[sin]:
        assert {why for why, rows in now["dropped_rows"].items() if rows} == {"not_ready"}
        return
    rows = recorded(remote, "dev")
    given = keys(rows)
    assert len(set(given)) == len(given) == 2 * sum(now["requests"].values())
    assert set(given) <= set(requests)
    assert {row["branch"] for row in rows} <= {"dev"}
    statuses = {"hangs": {"timeout"}, "raises": {"error"}}.get(sin, set())
    if sin == "killed":  # a slow machine has no second worker for it in time
        assert {row["status"] for row in rows} & {"error", "timeout"}
        statuses = {"error", "timeout"} & {row["status"] for row in rows}
    assert {row["status"] for row in rows} == statuses
    if sin == "raises":
        assert given == requests
        logs = remote.files("dev", "logs/dev/")
        lines = [json.loads(x) for path in logs for x in remote.read("dev", path).splitlines()]
        errors = [line for line in lines if "no such feature" in line["message"]]
        assert {line["request_id"] for line in errors} <= {key[0] for key in requests}
        assert errors
    if sin == "hangs":
        assert now["dropped_rows"]["late"] + now["dropped_rows"]["overload"] > 0


def test_a_shadow_slower_than_the_traffic_drops_copies_and_holds_few(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    slow = "import time\ndef predict(model, instances):\n    time.sleep(0.05)\n    return [1, 2]\n"
    remote.commit("prod", scores(0.0))
    remote.commit("dev", {"src/serve.py": slow}, start="prod")
    dev = {"shadow": True, "shadow_rows": 6}
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}, "dev": dev})
    gateways.append(gateway)
    gateway.start()
    wait_until(lambda: gateway.branch("dev")["serving"])
    held = []
    with Traffic(gateway, instances=[[1], [2]]) as traffic:
        for _ in range(10):
            traffic.more(30)
            held.append(shadow(gateway)["rows"])
    assert traffic.failures == []
    settled(gateway, len(traffic.answered), 2)
    now = shadow(gateway)
    assert 0 < max(held) <= 6
    dropped = 'gateway_shadow_dropped_rows_total{branch="dev",reason="overload"}'
    assert gateway.metric(dropped) == now["dropped_rows"]["overload"] > 0
    gateway.stop_published(
        lambda: (
            keys(recorded(remote, "prod")) == asked(traffic, 2)
            and len(recorded(remote, "dev")) >= 2 * now["requests"]["ok"]
        )
    )
    assert keys(recorded(remote, "prod")) == asked(traffic, 2)
    mine = recorded(remote, "dev")
    assert {row["status"] for row in mine} == {"ok"}
    assert len(set(keys(mine))) == len(mine) == 2 * now["requests"]["ok"]


def nice(gateway: Gateway, branch: str) -> set[int]:
    """How nice the branch's workers are beside the front."""
    assert gateway.process is not None
    pids = [worker["pid"] for worker in gateway.branch(branch)["workers"]]
    front = os.getpriority(os.PRIO_PROCESS, gateway.process.pid)
    found = set()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # one that was on its way out
            found.add(os.getpriority(os.PRIO_PROCESS, pid) - front)
    return found


def shy(gateway: Gateway) -> int:
    """By how much a shadow is nicer: 10, or what the tests' own niceness leaves of it."""
    assert gateway.process is not None
    return min(10, 19 - os.getpriority(os.PRIO_PROCESS, gateway.process.pid))


def test_a_branch_becomes_a_shadow_and_an_arm_again_under_traffic_without_a_failed_request(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    remote.commit("dev", serve_py("new"), start="prod")
    arm, prod = {"weight": 1}, {"prod": {"weight": 1}}
    gateway = Gateway(tmp_path / "g", remote, {**prod, "dev": arm})
    gateways.append(gateway)
    gateway.start()
    arms = set()
    with Traffic(gateway) as traffic:
        for _ in range(2):
            gateway.write(branches={**prod, "dev": PATIENT})
            wait_until(lambda: gateway.get("/branches/dev").json().get("shadow"))
            traffic.more(40)  # those that were under way may still be dev's
            seen = len(traffic.answered)
            epoch = gateway.get("/branches").json()["epoch"]
            traffic.more(40)
            assert {body["branch"] for body in traffic.answered[seen:]} == {"prod"}
            wait_until(lambda: nice(gateway, "dev") == {shy(gateway)})
            wait_until(lambda: shadow(gateway)["agreement"])

            gateway.write(branches={**prod, "dev": arm})
            wait_until(lambda: gateway.branch("dev")["share"] == 0.5)
            assert gateway.branch("dev")["shadow"] is None
            arms.add(gateway.get("/branches").json()["epoch"])
            assert epoch not in arms
            traffic.more(80)
            wait_until(lambda: nice(gateway, "dev") == {0})
            assert gateway.metric('gateway_branch_weight_ratio{branch="dev"}') == 0.5
            assert samples(gateway, "gateway_shadow_agreement_ratio") == []

            gateway.write(branches=prod)
            wait_until(lambda: gateway.get("/branches/dev").status_code == 404)
            traffic.more(20)
    assert traffic.failures == []
    assert len(arms) == 1  # the same split of the same content
    assert {body["branch"] for body in traffic.answered} == {"prod", "dev"}
    gateway.stop_published(
        lambda: answered_by(remote) >= {body["request_id"] for body in traffic.answered}
    )
    rows = recorded(remote, "prod") + recorded(remote, "dev")
    assert max(Counter((row["request_id"], row["branch"]) for row in rows).values()) == 1
    served = {row["request_id"]: row["branch"] for row in rows if row["reason"] == "split"}
    copies = {row["request_id"] for row in rows if row["reason"] == "shadow"}
    assert served == {body["request_id"]: body["branch"] for body in traffic.answered}
    assert copies
    assert {served[request_id] for request_id in copies} == {"prod"}


def test_a_push_to_a_shadow_is_swapped_in_and_compared_anew_and_a_broken_one_is_not(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    remote.commit("dev", serve_py("new"), start="prod")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}, "dev": PATIENT})
    gateways.append(gateway)
    gateway.start()

    def figures() -> list[tuple[Any, ...]]:
        found = shadow(gateway)["agreement"]
        return [(one["branch"], one["rows"], one["equal_share"]) for one in found]

    def compared(share: float) -> None:
        wait_until(lambda: gateway.predict().status_code == 200 and figures())
        settled(gateway, int(gateway.metric('gateway_requests_total{branch="prod",status="ok"}')))
        ((branch, rows, equal),) = figures()
        assert (branch, equal) == ("prod", share)
        assert rows > 0

    compared(0.0)
    same = remote.commit("dev", {"src/serve.py": serve_py("old")["src/serve.py"] + "# again\n"})
    wait_until(lambda: gateway.serving("dev") == same)
    assert figures() == []
    compared(1.0)
    remote.commit("dev", BAD["broken"])
    wait_until(lambda: gateway.metric('gateway_branch_quarantined{branch="dev"}') == 1)
    assert gateway.serving("dev") == same
    compared(1.0)
    assert gateway.is_ready()
    assert gateway.branch("dev")["reason"] is not None


def test_neither_the_end_nor_a_start_waits_for_a_shadow_that_hangs(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    remote.commit("dev", BAD["hangs"], start="prod")
    dev = {**PATIENT, "timeout": "1h"}
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}, "dev": dev})
    gateways.append(gateway)
    gateway.start()
    wait_until(lambda: gateway.branch("dev")["serving"])
    asked_ids = {gateway.predict(unit="u").json()["request_id"] for _ in range(5)}
    wait_until(lambda: shadow(gateway)["rows"] == 5)
    gateway.stop_published(lambda: holds(remote, {"prod": asked_ids}))
    assert {row["request_id"] for row in recorded(remote, "prod")} == asked_ids
    # What served before loads first, and here does not for as long as a load may take.
    snapshots = tmp_path / "g/.gateway/snapshots"
    (code,) = [p for p in snapshots.glob("*/src/serve.py") if "sleep" in p.read_text()]
    code.chmod(0o600)
    code.write_text("import time\ntime.sleep(3600)\n")
    newer = remote.commit("prod", serve_py("newer"))
    gateway.start()
    wait_until(lambda: gateway.serving("prod") == newer, 60.0, gateway.words)
    assert gateway.predict().json()["predictions"] == ["newer"]
    assert gateway.branch("dev")["serving"] is None
    assert gateway.stop() == 0
