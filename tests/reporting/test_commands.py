"""`gateway drift` and `gateway report`, asking what answers as a gateway does, or otherwise."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from answers import Answers
from click.testing import CliRunner, Result
from driftdocs import document, history_of, people
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

from gateway.cli import main

BEFORE = people(1, 2000, "before")


@pytest.fixture(scope="module")
def moved() -> dict[str, Any]:
    return document(BEFORE, people(2, 1000, "moved"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_real_gateway_is_asked_where_its_file_says_it_listens(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], moved: dict[str, Any]
) -> None:
    remote.commit("team/exp", serve_py("exp"))
    gateway = Gateway(tmp_path / "g", remote, {"team/exp": {"weight": 1}}, baseline="team/exp")
    gateways.append(gateway)
    gateway.start()
    file = gateway.folder / ".gateway" / "drift" / "team~exp.json"
    # The monitor writes what it knows once, and again when there is news: here there is none.
    wait_until(file.exists)
    file.write_text(json.dumps({**moved, "branch": "team/exp"}))
    config = tmp_path / "gateway.yaml"
    port = gateway.url.rpartition(":")[2]
    config.write_text(
        json.dumps({**gateway.settings, "listen": f"0.0.0.0:{port}", "access": {"anonymous": []}})
    )

    done = subprocess.run(
        [sys.executable, "-m", "gateway", "drift", "team/exp", "--config", config],
        capture_output=True,
        text=True,
        check=True,
        # What lies on the way to other servers is not on the way to this one.
        env={"http_proxy": "http://127.0.0.1:1", "COLUMNS": "90", "PYTHONIOENCODING": "latin-1"},
    )
    assert done.stderr == ""
    assert done.stdout.startswith("team/exp  CRITICAL: ")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 90

    page = tmp_path / "page.html"
    found = run("report", "team/exp", "--url", gateway.url + "/", "-o", page)
    assert (found.exit_code, found.output) == (0, f"{page} is written\n")
    assert "No history yet" in page.read_text()
    assert "No history yet" in run("report", "team/exp", "--config", config, "-o", "-").stdout


@pytest.mark.parametrize(
    ("severity", "asked", "code"),
    [
        ("critical", None, 0),
        ("critical", "alert", 1),
        ("alert", "alert", 1),
        ("alert", "critical", 0),
        ("warn", "warn", 1),
        ("ok", "warn", 0),
        ("insufficient", "warn", 0),
        (None, "warn", 0),
    ],
)
def test_ci_fails_from_the_severity_on_that_it_names(
    answers: Answers, moved: dict[str, Any], severity: str | None, asked: str | None, code: int
) -> None:
    answers.pages["/branches/prod/drift"] = (200, json.dumps({**moved, "severity": severity}))
    more = ["--fail-on", asked] if asked else []
    assert run("drift", "prod", "--url", answers.url, *more).exit_code == code


def test_a_broken_split_fails_ci_and_models_that_differ_do_not(answers: Answers) -> None:
    path, same = "/branches/prod/drift", people(3, 1000)
    models = {**same, "__prediction__": ["yes"] * 1000}
    found = {
        "split": document(people(2, 2000, "moved"), people(4, 1000, "moved"), other=same),
        "model": document(models, models, other=same),
    }
    assert {name: one["severity"] for name, one in found.items()} == {"split": "ok", "model": "ok"}
    for name, code in (("split", 1), ("model", 0)):
        answers.pages[path] = (200, json.dumps(found[name]))
        done = run("drift", "prod", "--url", answers.url, "--fail-on", "warn")
        assert (done.exit_code, name in done.output) == (code, True)


def test_a_page_has_the_history_and_says_why_it_has_none(
    answers: Answers, moved: dict[str, Any], tmp_path: Path
) -> None:
    answers.pages["/branches/prod/drift"] = (200, json.dumps(moved))
    view = "/branches/prod/monitoring/drift.csv"
    said = {}
    for name, answer in {
        "full": (200, history_of([moved] * 3)),
        "empty": (200, ""),
        "away": (502, json.dumps({"error": {"message": "the remote is away"}})),
    }.items():
        answers.pages[view] = answer
        page = tmp_path / f"{name}.html"
        assert run("report", "prod", "--url", answers.url, "-o", page).exit_code == 0
        said[name] = page.read_text()
    assert 'aria-label="PSI of plan over 3 windows' in said["full"]
    assert "No history yet" in said["empty"]
    assert (
        f"could not be read: {answers.url}{view}: answered 502: the remote is away" in said["away"]
    )


@pytest.mark.parametrize("command", ["drift", "report"])
def test_what_is_wrong_is_said_with_its_place_and_what_would_be_right(
    answers: Answers, tmp_path: Path, command: str
) -> None:
    page = tmp_path / "page.html"
    out = ["-o", page] if command == "report" else []
    answers.pages = {
        "/branches/html/drift": (200, "<html>hello"),
        "/branches/json/drift": (200, '{"branch": "json", "state": "unheard of"}'),
        "/branches/error/drift": (500, "<h1>proxy"),
        "/branches/h%C3%A9%23%25/drift": (200, '{"branch": "hé#%", "state": "waiting"}'),
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    at = f"{answers.url}/branches"
    for branch, url, words in (
        ("gone", answers.url, f"{at}/gone/drift: answered 404: no branch 'x' is served; there are"),
        ("html", answers.url, f"{at}/html/drift: must answer JSON. Given: '<html>hello'"),
        ("json", answers.url, f"{at}/json/drift: its JSON is no drift document of this version: "),
        ("error", answers.url, f"{at}/error/drift: answered 500: '<h1>proxy'"),
        ("prod", nobody, f"{nobody}/branches/prod/drift: no gateway answers: Connection refused"),
        ("prod", "file:///etc", "--url: must be an address such as http://127.0.0.1:8080. Given: "),
        ("a b", answers.url, "not a git branch name: 'a b'"),
    ):
        done = run(command, branch, "--url", url, *out)
        assert done.exit_code == 2
        assert done.stderr.startswith(words), done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not page.exists()
    assert run(command, "hé#%", "--url", answers.url, *out).exit_code == 0


def test_the_address_comes_from_the_file_of_either_kind_or_must_be_given(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = tmp_path / "gateway.yaml"
    file.write_text(
        f"repository: /r\nlisten: '[::]:{port}'\naccess: {{anonymous: []}}\n"
    )  # the operator's half
    assert run("drift", "prod", "--config", file).stderr.startswith(f"http://[::1]:{port}/branches")
    file.write_text("repository: /r\nlisten: 127.0.0.1:0\n")
    assert "any free port" in run("drift", "prod", "--config", file).stderr
    file.write_text("repository: /r\nlisten: nowhere\n")
    assert (
        "gateway.yaml:2:9: listen: must be HOST:PORT" in run("drift", "x", "--config", file).stderr
    )
    gone = run("drift", "prod", "--config", tmp_path / "gone.yaml")
    assert (gone.exit_code, "gone.yaml" in gone.stderr) == (2, True)


def test_a_page_that_cannot_be_written_is_named(
    answers: Answers, moved: dict[str, Any], tmp_path: Path
) -> None:
    answers.pages["/branches/prod/drift"] = (200, json.dumps(moved))
    page = tmp_path / "no" / "page.html"
    done = run("report", "prod", "--url", answers.url, "-o", page)
    assert (done.exit_code, done.stderr) == (
        2,
        f"{page}: cannot be written: No such file or directory\n",
    )


def test_the_command_line_starts_without_numpy_and_templates() -> None:
    code = (
        "import sys, gateway.reporting.commands as _; print(*{'numpy', 'jinja2'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
