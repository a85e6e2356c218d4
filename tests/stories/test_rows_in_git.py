"""What was answered is in the branch's monitoring/: every column, no secret, and flat on demand."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from gitrepo import Remote, git
from running import Gateway, holds, recorded, serve_py
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from waiting import wait_until

COLUMNS = [
    *("ts", "request_id", "row", "branch", "commit", "fingerprint", "assigned", "reason"),
    *("unit", "propensity", "epoch", "status", "latency_ms", "prediction", "score", "weight"),
    "features",
]


def model_file(folder: Path) -> bytes:
    data = load_breast_cancer(as_frame=True)
    model = LogisticRegression(max_iter=10_000).fit(data.data.iloc[:, :3], data.target)
    joblib.dump(model, folder / "m.joblib")
    return (folder / "m.joblib").read_bytes()


def everything_on_disk(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def test_a_row_has_every_column_and_the_user_only_as_a_keyed_hash(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    commit = remote.commit("team/prod", {"models/m.joblib": model_file(tmp_path)})
    gateway = Gateway(
        tmp_path / "g",
        remote,
        {"team/prod": {"weight": 3}},
        baseline="team/prod",
        unit=["header:X-User-Id", "body:user"],
    )
    gateways.append(gateway)
    gateway.start()
    answer = gateway.predict([[1, 2, 3], [30.5, 2, 0]], unit="a.user@example.net").json()
    body = {"instances": [{"mean perimeter": 3, "mean texture": 2, "mean radius": 1, "more": 0}]}
    named = gateway.post("/predict", {**body, "user": "a.user@example.net"}).json()
    anonymous = gateway.post("/predict", body).json()
    bad = gateway.predict([[1]], unit="a.user@example.net")
    assert bad.status_code == 422
    ids = [one["request_id"] for one in (answer, named, anonymous)]
    ids.append(bad.headers["Gateway-Request-Id"])
    gateway.stop_published(lambda: holds(remote, {"team/prod": ids}))

    rows = recorded(remote, "team/prod")
    assert list(rows[0]) == COLUMNS
    by_id = {(row["request_id"], row["row"]): row for row in rows}
    first, second = (by_id[answer["request_id"], str(n)] for n in (0, 1))
    assert first["branch"] == first["assigned"] == "team/prod"
    assert (first["commit"], first["status"], first["reason"]) == (commit, "ok", "split")
    assert (float(first["propensity"]), float(first["weight"])) == (1, 1)
    assert json.loads(first["prediction"]) == answer["predictions"][0]
    assert float(first["score"]) == pytest.approx(answer["probabilities"][0][1])
    assert json.loads(first["features"]) == {
        "mean radius": 1,
        "mean texture": 2,
        "mean perimeter": 3,
    }
    assert json.loads(second["features"])["mean radius"] == 30.5
    assert float(first["latency_ms"]) > 0
    named_row = by_id[named["request_id"], "0"]
    assert named_row["unit"] == first["unit"]
    assert len(first["unit"]) == 16
    anonymous_row = by_id[anonymous["request_id"], "0"]
    assert (anonymous_row["unit"], anonymous_row["reason"]) == ("", "no_unit")
    invalid = by_id[bad.headers["Gateway-Request-Id"], "0"]
    assert (invalid["status"], invalid["prediction"]) == ("invalid", "")
    assert len({row["epoch"] for row in rows}) == 1
    for path, content in everything_on_disk(tmp_path / "g"):
        assert b"a.user@example.net" not in content, path


def test_a_redacted_column_is_written_nowhere(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", {"models/m.joblib": model_file(tmp_path)})
    gateway = Gateway(
        tmp_path / "g",
        remote,
        {"prod": {"weight": 1}},
        monitoring={"redact": ["mean texture"], "target": "none"},
    )
    gateways.append(gateway)
    gateway.start()
    assert gateway.predict([[1, 424242.5, 3]]).status_code == 200
    record = {"mean radius": 1, "mean texture": 424242.5, "mean perimeter": 3}
    assert gateway.predict([record]).status_code == 200
    refused = gateway.predict([["x", "424242.5", 3]])
    assert refused.status_code == 422
    assert "424242.5" not in refused.text
    assert gateway.stop() == 0
    journal = list((tmp_path / "g/.gateway/journal").rglob("*.jsonl"))
    kept = b"".join(path.read_bytes() for path in journal)
    assert kept.count(b'"mean radius":1') == 2
    for path, content in everything_on_disk(tmp_path / "g"):
        assert b"424242.5" not in content, path


def test_the_flat_files_of_the_seed_layout_are_views(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    asked = [gateway.predict().json()["request_id"] for _ in range(5)]

    def view() -> list[str]:
        text = gateway.get("/branches/prod/monitoring/predictions.csv").text
        return [row["request_id"] for row in csv.DictReader(io.StringIO(text))]

    wait_until(lambda: view() == asked, 60.0, view)
    asked.append(gateway.predict().json()["request_id"])
    wait_until(lambda: view() == asked, 60.0, view)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "export", "prod", "--config", str(gateway.file)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [row["request_id"] for row in csv.DictReader(io.StringIO(done.stdout))] == asked
    assert "predictions.csv" not in git(remote.path, "ls-tree", "-r", "--name-only", "prod")


def test_sampled_rows_weigh_what_they_stand_for(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(
        tmp_path / "g",
        remote,
        {"prod": {"weight": 1}},
        # One flush, at the end: how many there are must not hang on the machine's speed.
        monitoring={"sample_rows": 10, "flush": "1h"},
    )
    gateways.append(gateway)
    gateway.start()
    for _ in range(100):
        assert gateway.predict([[1], [2]]).status_code == 200
    gateway.stop_published(lambda: recorded(remote, "prod"))
    rows = recorded(remote, "prod")
    assert len(rows) == 10
    assert sum(float(row["weight"]) for row in rows) == pytest.approx(200)


def test_a_protected_branch_gets_its_rows_on_the_side_branch_and_says_so(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    protected = remote.commit("prod", serve_py("old"))
    hook = remote.path / "hooks" / "pre-receive"
    hook.write_text(
        '#!/bin/sh\nwhile read old new ref; do [ "$ref" != refs/heads/prod ] || exit 1; done\n'
    )
    hook.chmod(0o755)
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    asked = gateway.predict().json()["request_id"]

    def monitoring() -> dict[str, Any]:
        return gateway.branch("prod")["monitoring"] or {}

    wait_until(lambda: monitoring().get("last_push"), describe=gateway.words)
    status = monitoring()
    assert status["ref"] == "refs/heads/gateway-monitoring/prod"
    assert "hook" in status["last_failure"]["reason"]
    # The first push may be of the decision to serve alone.
    side = status["ref"].removeprefix("refs/heads/")
    wait_until(lambda: recorded(remote, "prod", side), describe=gateway.words)
    assert [row["request_id"] for row in recorded(remote, "prod", side)] == [asked]
    assert remote.tip("prod") == protected
