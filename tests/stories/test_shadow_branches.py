"""A shadow gets copies and answers nobody: whatever becomes of it, users are served the same."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Remote
from running import Gateway, recorded, serve_py
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
SHADOW = {"shadow": True, "timeout": "400ms"}


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
    branches = {"prod": {"weight": 1}, "exp": {"weight": 1}, "dev": {"shadow": True}}
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
    assert status["dropped_rows"] == {}
    metrics = {
        (name, served): gateway.metric(f'gateway_shadow_{name}{{branch="dev",served="{served}"}}')
        for name in ("compared_rows", "agreement_ratio", "score_difference_ratio")
        for served in ("prod", "exp")
    }
    assert gateway.metric('gateway_requests_total{branch="dev",status="ok"}') == 0
    assert gateway.metric('gateway_rows_total{branch="dev"}') == 0
    assert gateway.stop() == 0

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
