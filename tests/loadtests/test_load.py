"""`make load` against real gateways: passes where all is right, fails where an answer is not."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

from loadtests.ports import free_port

ROOT = Path(__file__).parent.parent.parent
RAISES = """
def load(root):
    return None
def predict(model, instances):
    raise ValueError("this model answers nobody")
"""


def load(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a headless run."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtests", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def started(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], files: dict[str, str]
) -> Gateway:
    remote.commit("prod", files)
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    return gateway.start()


@pytest.mark.timeout(600)
def test_users_are_answered_right_while_weights_change_and_merges_land(tmp_path: Path) -> None:
    code, said = load(
        "--users=2", "--seconds=500", "--merges=1", "--pause=0.2", f"--folder={tmp_path}"
    )
    assert code == 0, said
    done = re.search(r"during the run: (.*)", said)
    assert done is not None, said
    for what in ("weight changes", "new models", "merges"):
        assert re.search(rf"[1-9]\d* {what}", done[1]), said
    for what in ("named, 1 row", "array, 1 row", "named, 2 to 64 rows", "array, 2 to 64 rows"):
        assert what in said, said


@pytest.mark.timeout(600)
def test_a_gateway_that_answers_errors_fails_the_run(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = started(tmp_path, remote, gateways, {"src/serve.py": RAISES})
    code, said = load("--users=2", "--seconds=3", f"--host={gateway.url}")
    assert code == 1, said
    assert "this model answers nobody" in said or "status 5" in said, said


@pytest.mark.timeout(600)
def test_a_gateway_that_runs_already_can_be_loaded(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = started(tmp_path, remote, gateways, serve_py("prod"))
    code, said = load("--users=2", "--seconds=3", f"--host={gateway.url}")
    assert code == 0, said
    assert "nothing" not in said


@pytest.mark.timeout(600)
def test_a_run_in_which_nobody_is_there_to_answer_fails(tmp_path: Path) -> None:
    code, said = load("--users=1", "--seconds=2", "--host=http://127.0.0.1:9")
    assert code == 1, said


@pytest.mark.timeout(600)
def test_a_run_is_begun_watched_and_ended_on_the_page_and_keeps_its_exit_code(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = started(tmp_path, remote, gateways, serve_py("prod"))
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "loadtests", "--web", f"--port={port}"]
    with log.open("wb") as output:
        child = subprocess.Popen(
            [*command, f"--host={gateway.url}"], cwd=ROOT, stdout=output, stderr=output
        )
    page = f"http://127.0.0.1:{port}"

    def is_shown() -> bool:
        try:
            return "locust" in httpx.get(page, timeout=60).text.lower()
        except httpx.TransportError:
            return child.poll() is not None

    def answered() -> bool:
        total = httpx.get(f"{page}/stats/requests", timeout=60).json()["stats"][-1]
        assert total["num_failures"] == 0, total
        return bool(total["num_requests"] > 20)

    try:
        wait_until(is_shown, 180.0, log.read_text)
        begin = {"user_count": "2", "spawn_rate": "2", "host": gateway.url}
        assert httpx.post(f"{page}/swarm", data=begin, timeout=60).json()["success"] is True
        wait_until(answered, 180.0, log.read_text)
        assert httpx.post(f"{page}/stop", timeout=60).json()["success"] is True
        child.send_signal(signal.SIGTERM)
        assert child.wait(120) == 0, log.read_text()
    finally:
        child.kill()
