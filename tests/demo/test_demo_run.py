"""The demonstration around its gateway: started, shown, stopped, and heard when it dies.

Here another program stands in for the gateway, which shows what is asked of it and how the
demonstration takes its end; the stories run the real one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from waiting import wait_until

from gateway.config import load_config
from gateway.demo import build_repository

STAND_IN = """
import http.server, json, pathlib, signal, sys
from gateway.config import load_config
config = load_config(pathlib.Path(sys.argv[2]))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({})
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(sys.argv[2] + ".asked", "a") as file:
            print(json.dumps([self.headers["X-User-Id"], body]), file=file)
        self.answer({"predictions": ["benign"], "branch": "prod", "request_id": "an id"})
    def answer(self, body):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())
    def log_message(self, *_):
        pass
def stop(*_):
    print("told to stop", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
http.server.HTTPServer((config.listen.host, config.listen.port), Handler).serve_forever()
"""
RUN = """
import sys
from pathlib import Path
from gateway.demo import run_demo
from gateway.errors import GatewayError
try:
    sys.exit(run_demo(Path(sys.argv[1]), 0, command=sys.argv[2:]))
except GatewayError as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    build_repository(folder)
    return folder


class Demo:
    """`run_demo` in a process of its own, with a program in place of the gateway."""

    def __init__(self, folder: Path, program: str) -> None:
        self.words = folder / "words.txt"
        (folder / "gateway.yaml.asked").unlink(missing_ok=True)
        self._output: IO[bytes] = self.words.open("wb")
        command = [sys.executable, "-c", RUN, str(folder), sys.executable, "-c", program]
        self.process = subprocess.Popen(
            command, stdout=self._output, stderr=self._output, start_new_session=True
        )

    def said(self) -> str:
        return self.words.read_text()

    def ends(self) -> int:
        return self.process.wait(60)

    def close(self) -> None:
        # Not killed: it ends the program that it started.
        self.process.terminate()
        self.process.wait(60)
        self._output.close()


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        demo.close()


@pytest.fixture
def served(folder: Path, demos: list[Demo]) -> Demo:
    demos.append(Demo(folder, STAND_IN))
    wait_until(lambda: "Ctrl-C stops" in demos[0].said(), 120, demos[0].said)
    return demos[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_once_and_the_end_awaited(
    served: Demo, folder: Path, number: signal.Signals
) -> None:
    # To the whole group, as a terminal does.
    os.killpg(served.process.pid, number)
    assert served.ends() == 0, served.said()
    assert (folder / "gateway.log").read_text() == "told to stop\n"
    assert served.said().endswith("Stopped; everything answered is recorded.\n")


def test_the_traffic_is_of_real_rows_by_returning_users(served: Demo, folder: Path) -> None:
    lines = (folder / "gateway.yaml.asked").read_text().splitlines()
    sent = [json.loads(line) for line in lines]
    asked = [(user, body) for user, body in sent if "instances" in body]
    assert len(asked) == 601
    assert len({user for user, _ in asked}) == 301
    assert all(len(body["instances"][0]) == 30 for _, body in asked)
    assert "600 by prod" in served.said()


def test_what_was_right_is_told_of_every_request_that_was_answered(
    served: Demo, folder: Path
) -> None:
    lines = (folder / "gateway.yaml.asked").read_text().splitlines()
    sent = [json.loads(line)[1] for line in lines]
    told = [item for body in sent if "items" in body for item in body["items"]]
    assert len(told) == 600
    assert {item["label"] for item in told} == {"benign", "malignant"}
    assert {item["metric"] for item in told} == {"accuracy"}


def test_the_curl_that_is_shown_asks_with_a_real_row(served: Demo, folder: Path) -> None:
    lines = served.said().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("  curl "))
    words = shlex.split(lines[first].removesuffix("\\") + lines[first + 1])
    listen = load_config(folder / "gateway.yaml").listen
    assert f"http://{listen}/predict" in words
    row = json.loads(Path(words[words.index("-d") + 1].removeprefix("@")).read_text())
    assert len(row["instances"][0]) == 30


def test_the_merge_that_is_shown_puts_the_challenger_on_prod(served: Demo, folder: Path) -> None:
    commands = re.findall(rf"^  (git -C {re.escape(str(folder))}/project .*)$", served.said(), re.M)
    assert len(commands) == 3
    for command in commands:
        subprocess.run(shlex.split(command), check=True, capture_output=True)
    changed = ["git", "diff", "--name-only", "prod", "ab-test-210323"]
    done = subprocess.run(
        changed, cwd=folder / "repository.git", check=True, capture_output=True, text=True
    )
    assert done.stdout == ""


def test_a_gateway_that_does_not_start_is_heard(folder: Path, demos: list[Demo]) -> None:
    demos.append(Demo(folder, "raise SystemExit('no room at the inn')"))
    assert demos[0].ends() == 1
    assert "the gateway did not start:\nno room at the inn" in demos[0].said()


def test_a_gateway_that_ends_by_itself_is_heard(folder: Path, demos: list[Demo]) -> None:
    dying = STAND_IN.replace(
        "def log_message(self, *_):\n        pass",
        "def log_message(self, *_):\n"
        "        if self.headers['X-User-Id'] == 'ada':\n"
        "            import os; os.write(1, b'struck by lightning'); os._exit(7)",
    )
    demos.append(Demo(folder, dying))
    assert demos[0].ends() == 1
    assert "struck by lightning" in demos[0].said()
