"""What a branch brings may be broken in any way: the others answer on, and the reason is told."""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Remote
from running import Gateway, recorded, serve_py
from waiting import wait_until

RAISES = "def predict(model, instances):\n    raise KeyError('no such feature')\n"
HANGS = "import time\ndef predict(model, instances):\n    time.sleep(3600)\n"
KILLED = (
    "import os, signal\ndef predict(model, instances):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
)
PRINTS = (
    "import os, subprocess, sys\nprint('on import')\ndef predict(model, instances):\n"
    "    print('x' * 5000)\n    os.write(1, b'raw' * 1000)\n    sys.stderr.write('y' * 5000)\n"
    "    subprocess.run(['echo', 'from a child'])\n    return ['printed'] * len(instances)\n"
)


def decisions(remote: Remote, branch: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for path in remote.files(branch, f"monitoring/decisions/{branch}/"):
        rows += csv.DictReader(io.StringIO(remote.read(branch, path) + "\n"))
    return rows


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"src/serve.py": None, "models/model.pkl": b"\x80\x04 not a pickle"}, "model.pkl"),
        ({"src/serve.py": "raise SystemExit(3)\n"}, "sys.exit(3)"),
        ({"src/serve.py": "import os\nos._exit(7)\n"}, "7"),
        ({"src/serve.py": "import no_such_library\n"}, "no_such_library"),
        ({"src/serve.py": "def predict(:\n"}, "SyntaxError"),
        ({"src/serve.py": None, "models/a.pkl": b"a", "models/b.pkl": b"b"}, "models/b.pkl"),
    ],
    ids=["broken_pickle", "exits", "dies", "missing_library", "syntax", "two_models"],
)
def test_what_cannot_be_loaded_keeps_the_old_one_and_says_why_where_its_author_looks(
    tmp_path: Path,
    remote: Remote,
    gateways: list[Gateway],
    files: dict[str, bytes | str | None],
    words: str,
) -> None:
    good = remote.commit("prod", serve_py("good"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    broken = remote.commit("prod", files)
    quarantined = 'gateway_branch_quarantined{branch="prod"}'
    wait_until(lambda: gateway.metric(quarantined) == 1, describe=gateway.words)
    assert gateway.predict().json() | {"request_id": ""} == {
        "predictions": ["good"],
        "request_id": "",
        "branch": "prod",
        "commit": good,
    }
    status = gateway.branch("prod")
    assert words in status["reason"]
    assert status["serving"]["commit"] == good

    def quarantines() -> list[dict[str, str]]:
        return [row for row in decisions(remote, "prod") if row["decision"] == "quarantined"]

    wait_until(quarantines, describe=gateway.words)
    (row,) = quarantines()
    assert row["commit"] == broken
    assert words in row["reason"]
    logs = remote.files("prod", "logs/prod/")
    assert any(
        words in json.loads(line)["message"]
        for path in logs
        for line in remote.read("prod", path).splitlines()
    )
    # A restart serves the last good one, although the tip is still broken.
    assert gateway.stop() == 0
    gateway.start()
    assert gateway.predict().json()["commit"] == good
    # The cure is a commit.
    fixed = remote.commit("prod", {**dict.fromkeys(files), **serve_py("fixed")})
    wait_until(lambda: gateway.serving("prod") == fixed, describe=gateway.words)
    assert gateway.predict().json()["predictions"] == ["fixed"]
    assert gateway.metric(quarantined) == 0


@pytest.mark.parametrize(
    ("code", "timeout", "status"),
    [
        (RAISES, "20s", "fallback_error"),
        (HANGS, "400ms", "fallback_timeout"),
        # Another worker dies on it before that is said.
        (KILLED, "20s", "fallback_error"),
    ],
    ids=["raises", "hangs", "killed"],
)
def test_a_candidate_that_fails_in_predict_is_answered_by_the_baseline(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], code: str, timeout: str, status: str
) -> None:
    remote.commit("prod", serve_py("good"))
    remote.commit("exp", {"src/serve.py": code}, start="prod")
    gateway = Gateway(
        tmp_path / "g",
        remote,
        {"prod": {"weight": 0}, "exp": {"weight": 1, "timeout": timeout}},
    )
    gateways.append(gateway)
    gateway.start()
    answer = gateway.predict(unit="u")
    assert (answer.status_code, answer.json()["branch"]) == (200, "prod")
    assert answer.headers["Gateway-Branch"] == "prod"
    assert gateway.metric(f'gateway_requests_total{{branch="exp",status="{status}"}}') == 1


def test_a_branch_that_prints_everywhere_answers_cleanly(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", {"src/serve.py": PRINTS})
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}}, sandbox="off")
    gateways.append(gateway)
    gateway.start()
    for _ in range(20):
        assert gateway.predict([[1], [2]]).json()["predictions"] == ["printed", "printed"]


def test_of_thirty_one_good_requests_and_one_poison_only_the_poison_fails(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    code = (
        "ROW_WISE = True\ndef predict(model, instances):\n"
        "    return [10 // row[0] for row in instances]\n"
    )
    remote.commit("prod", {"src/serve.py": code})
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    values = [0 if number == 13 else 5 for number in range(32)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda value: gateway.predict([[value]]), values))
    assert [a.status_code for a in answers] == [500 if v == 0 else 200 for v in values]
    error = answers[13].json()["error"]
    assert error["type"] == "model_error"
    assert "ZeroDivisionError" in error["message"]
    assert gateway.branch("prod")["state"] == "ready"


def test_what_a_model_raises_is_in_its_branchs_logs_with_the_request_id(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("good"))
    remote.commit("exp", {"src/serve.py": RAISES}, start="prod")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 0}, "exp": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    asked = gateway.predict(unit="u").json()["request_id"]

    def lines() -> list[dict[str, Any]]:
        paths = remote.files("exp", "logs/exp/")
        found = [json.loads(x) for path in paths for x in remote.read("exp", path).splitlines()]
        return [line for line in found if line.get("request_id") == asked]

    wait_until(lines, describe=gateway.words)
    (line,) = lines()
    assert (line["level"], line["branch"]) == ("error", "exp")
    assert "no such feature" in line["message"]
    said = [json.loads(line) for line in gateway.words().splitlines()]
    assert [one["branch"] for one in said if one.get("request_id") == asked] == ["exp"]


def test_a_branch_with_nothing_to_serve_is_told_once_and_not_with_every_commit_of_ours(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("good"))
    remote.commit("exp", {"src/serve.py": None, "notes.txt": "no model yet"}, start="prod")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}, "exp": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    wait_until(lambda: decisions(remote, "exp"), describe=gateway.words)
    status = gateway.branch("exp")
    assert status["state"] == "failed"
    assert "nothing to serve" in status["reason"]
    assert gateway.metric('gateway_branch_quarantined{branch="exp"}') == 1
    seen = remote.tip("exp")
    wait_until(lambda: gateway.branch("exp")["repository"]["tip"] == seen)
    for _ in range(2):
        asked = gateway.predict().json()["request_id"]
        wait_until(lambda asked=asked: asked in rows_of_prod(remote))  # type: ignore[misc]
    assert remote.tip("exp") == seen
    assert len(decisions(remote, "exp")) == 1


def rows_of_prod(remote: Remote) -> set[str]:
    return {row["request_id"] for row in recorded(remote, "prod")}


def test_an_error_that_has_no_utf_8_form_is_quarantined_like_any_other(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("good"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    remote.commit("prod", {"src/serve.py": "raise ValueError('\\udcff is half a character')\n"})
    wait_until(lambda: gateway.metric('gateway_branch_quarantined{branch="prod"}') == 1)
    assert "half a character" in gateway.branch("prod")["reason"]
