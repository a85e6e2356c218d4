"""Every command and example of the README is run as it stands there."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import joblib
import pytest
from gitrepo import Remote
from running import Gateway
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from waiting import wait_until

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_readme_is_short_and_its_commands_are_the_ones_run_here() -> None:
    assert len(README.splitlines()) <= 170
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert [command.split()[:2] for command in commands] == [
        ["make", "demo"],
        ["pip", "install"],
        ["gateway", "check"],
        ["gateway", "serve"],
        ["curl", "-s"],
        ["gateway", "serve"],  # --config-branch: tests/stories/test_configuration_from_a_branch.py
    ]


def test_the_file_the_request_and_the_answer_of_the_readme_are_real(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    data = load_breast_cancer()
    model = LogisticRegression(max_iter=10_000).fit(data.data[:, :3], data.target)
    joblib.dump(model, tmp_path / "model.joblib")
    remote.commit("prod", {"models/model.joblib": (tmp_path / "model.joblib").read_bytes()})
    remote.commit("ab-test-210323", {"notes.txt": "the challenger"}, start="prod")

    (example,) = blocks("yaml")
    address = re.search(r"https://\S+", example)
    assert address is not None
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    text = example.replace(address[0], str(remote.path))
    gateway.file.write_text(text + "listen: 127.0.0.1:0\n")
    checked = subprocess.run(
        [sys.executable, "-m", "gateway", "check", gateway.file],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ab-test-210323: 10.0% of the users" in checked.stdout
    gateway.start()

    (request,) = (block for block in blocks("sh") if block.startswith("curl"))
    words = shlex.split(request)
    header, value = words[words.index("-H") + 1].split(": ")
    url = words[2].replace("localhost:8080", gateway.url.removeprefix("http://"))
    answer = httpx.post(
        f"http://{url}", content=words[words.index("-d") + 1], headers={header: value}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    shown = json.loads(blocks("json")[0])
    assert set(answer.json()) == set(shown)
    assert len(answer.json()["probabilities"][0]) == len(shown["probabilities"][0])

    for path in re.findall(r"GET (/\S+?)`", README):
        asked = path.format(branch="prod", request_id=answer.json()["request_id"])
        assert gateway.get(asked).status_code == 200


@pytest.mark.timeout(600)
def test_an_installed_package_brings_the_command(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path, "."],
        cwd=ROOT,
        check=True,
    )
    said = subprocess.run(
        [sys.executable, tmp_path / "bin" / "gateway", "--version"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.startswith("gateway, version ")
    assert (tmp_path / "gateway" / "demo" / "guide.txt").exists()
    templates = tmp_path / "gateway" / "reporting" / "templates"
    assert {path.name for path in templates.iterdir()} == {"report.html", "report.css"}
    assert os.access(tmp_path / "gateway" / "repositories" / "askpass.sh", os.X_OK)


def asked(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, shell=True, check=False, cwd=ROOT, capture_output=True, text=True
    )


def worked(command: str) -> bool:
    return asked(command).returncode == 0


def printed(command: str) -> str:
    """What it said, once it works."""
    done = asked(command)
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""


@pytest.mark.timeout(600)
def test_make_demo_serves_and_every_command_it_shows_works(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    said = tmp_path / "said.txt"
    with said.open("wb") as output:
        demo = subprocess.Popen(
            ["make", "demo", f"ARGS=--port 0 --folder {folder}"],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: "Ctrl-C stops everything" in said.read_text() or demo.poll() is not None,
            200.0,
            said.read_text,
        )
        assert demo.poll() is None, said.read_text()
        text = said.read_text()
        url = re.search(r"http://127\.0\.0\.1:\d+", text)
        assert url is not None
        shown = [line.strip() for line in re.findall(r"^  (git -C .*)$", text, re.MULTILINE)]
        merge, look = shown[:3], shown[3:]
        look += re.findall(r"^  (\S*gateway (?:drift|report) .*)$", text, re.MULTILINE)
        assert len(look) == 5
        page = f"{url[0]}/branches/prod"

        def fingerprint() -> object:
            return httpx.get(page, timeout=30).json()["serving"]["fingerprint"]

        before = fingerprint()
        # Again, where a commit of the gateway came in between the pull and the push.
        wait_until(lambda: worked(" && ".join(merge)))
        wait_until(lambda: fingerprint() != before)
        for command in look:
            # It says: at most some seconds after it was answered.
            wait_until(lambda command=command: printed(command))  # type: ignore[misc]
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(120)
    assert "everything answered is recorded" in said.read_text()
