"""`gateway results`, asking a real gateway and what answers otherwise."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from answers import Answers
from click.testing import CliRunner, Result
from experimentdocs import as_json, changed, contrast, document, guardrail, metric, ratio, shadow
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

from gateway.cli import main
from gateway.experiments.document import ContrastReadout, ExperimentReadout
from gateway.layout import Kind
from gateway.monitoring.segments import COLUMNS

BRANCHES = {"prod": {"weight": 1}, "team/exp": {"weight": 1}}
PAGE = "/experiment"
UNSAMPLED: tuple[Kind, ...] = ("outcomes", "results")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["results", *(str(argument) for argument in arguments)])


def answering(answers: Answers, found: ExperimentReadout, page: str = PAGE) -> str:
    answers.pages[page] = (200, as_json(found).decode())
    return answers.url


def test_a_real_gateway_hands_on_what_its_monitor_wrote_to_page_series_and_command(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    for branch in BRANCHES:
        remote.commit(branch, serve_py(branch))
    gateway = Gateway(tmp_path / "g", remote, BRANCHES, salt="here")
    gateways.append(gateway)
    gateway.start()
    monitor = int(
        str(wait_until(lambda: gateway.get("/branches").json()["recording"]["monitor_pid"]))
    )
    os.kill(monitor, signal.SIGSTOP)  # what it would write stands in the way of what is put there
    try:
        file = gateway.folder / ".gateway" / "experiment.json"
        file.unlink(missing_ok=True)
        empty = wait_until(lambda: (one := gateway.get(PAGE).json())["trouble"] and one)
        assert isinstance(empty, dict)
        assert (empty["baseline"], empty["salt"], empty["contrasts"]) == ("prod", "here", [])
        assert empty["trouble"] == "the monitor has not written a read-out yet"
        assert empty["epoch"] == gateway.get("/branches").json()["epoch"]

        body = as_json(document(contrast("team/exp"), contrast("old", "stale")))
        beside = file.with_name("beside")
        beside.write_bytes(body)
        beside.rename(file)
        wait_until(lambda: gateway.get(PAGE).content == body)
        assert gateway.get(PAGE).headers["content-type"] == "application/json"

        one = gateway.get("/experiment?candidate=old").json()
        assert [found["candidate"] for found in one["contrasts"]] == ["old"]
        assert one["feedback"]["accepted"] == 4_012
        gone = gateway.get("/experiment?candidate=gone")
        assert gone.status_code == 404
        words = gone.json()["error"]["message"]
        assert words == "no candidate 'gone'; there are: old, team/exp"

        series = 'gateway_experiment_status{branch="team/exp",metric="conversion",status="running"}'
        assert gateway.metric(series) == 1
        for kind in UNSAMPLED:
            view = gateway.get(f"/branches/prod/monitoring/{kind}.csv")
            assert view.text == ",".join(COLUMNS[kind]) + "\n"
        assert gateway.metric('gateway_feedback_joined_total{status="accepted"}') == 4_012

        done = subprocess.run(
            [sys.executable, "-m", "gateway", "results", "team/exp", "--url", gateway.url],
            capture_output=True,
            text=True,
            check=True,
            env={"COLUMNS": "90", "http_proxy": "http://127.0.0.1:1", "PYTHONIOENCODING": "ascii"},
        )
        assert done.stderr == ""
        assert "RUNNING: Not decided yet, which does not mean no effect" in done.stdout
        assert "\x1b" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 90
    finally:
        os.kill(monitor, signal.SIGCONT)


def test_the_document_itself_comes_as_it_was_answered(answers: Answers) -> None:
    found = changed(document(), of_a_later_version={"kept": True})
    answers.pages[PAGE] = (200, json.dumps(found))
    done = run("--url", answers.url, "--json")
    assert json.loads(done.stdout) == found
    assert len(done.stdout.splitlines()) > 10


def test_a_candidate_is_asked_for_by_any_name_it_may_have(answers: Answers) -> None:
    found = document(contrast("team/é&b=c"))
    url = answering(answers, found, "/experiment?candidate=team%2F%C3%A9%26b%3Dc")
    assert "team/é&b=c beside prod" in run("team/é&b=c", "--url", url).stdout


def test_markdown_and_all_are_asked_for_by_their_options(answers: Answers) -> None:
    url = answering(answers, document(contrast(), contrast("old", "stale")))
    assert run("--url", url, "--markdown").stdout.startswith("### `exp` beside `prod`")
    assert "### `old`" in run("--url", url, "--markdown", "--all").stdout
    shown = " ".join(run("--url", url, "--all").stdout.split())  # of a terminal of any width
    assert "old beside prod STALE: This is of content" in shown


def with_secondary_worse() -> ContrastReadout:
    return contrast(metrics=(metric(), metric("revenue", "worse", role="secondary")))


@pytest.mark.parametrize(
    ("found", "asked", "code"),
    [
        (contrast(status="worse"), (), 0),
        (contrast(status="worse"), ("worse",), 1),
        (contrast(status="worse"), ("breached", "invalid"), 0),
        (contrast(status="better"), ("worse", "breached", "invalid"), 0),
        (contrast(status="insufficient"), ("worse", "breached", "invalid"), 0),
        (contrast(guardrails=(guardrail(breached=True),)), ("breached",), 1),
        (contrast(guardrails=(guardrail(breached=True),)), ("worse",), 0),
        (contrast(status="invalid"), ("invalid",), 1),
        (contrast(sample_ratio=ratio(mismatch=True)), ("worse", "invalid"), 1),
        (contrast("old", "stale", guardrails=(guardrail(breached=True),)), ("breached",), 0),
        (with_secondary_worse(), ("worse",), 0),
        (shadow(status="worse"), ("worse",), 1),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",), ("--markdown",)])
def test_ci_fails_for_what_it_names_of_what_is_served_now(
    answers: Answers,
    found: ContrastReadout,
    asked: tuple[str, ...],
    code: int,
    form: tuple[str, ...],
) -> None:
    url = answering(answers, document(found))
    named = [part for name in asked for part in ("--fail-on", name)]
    done = run("--url", url, *named, *form)
    assert (done.exit_code, done.stderr) == (code, "")
    assert done.stdout


def test_what_is_wrong_is_said_with_its_place_and_what_would_be_right(answers: Answers) -> None:
    answers.pages = {
        "/experiment?candidate=html": (200, "<html>hello"),
        "/experiment?candidate=json": (200, json.dumps(changed(document(), contrasts=7))),
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    at = f"{answers.url}/experiment?candidate="
    for branch, url, words in (
        ("gone", answers.url, f"{at}gone: answered 404: no branch 'x' is served"),
        ("html", answers.url, f"{at}html: must answer JSON. Given: '<html>hello'"),
        ("json", answers.url, f"{at}json: its JSON is no read-out of this version: "),
        ("prod", nobody, f"{nobody}/experiment?candidate=prod: no gateway answers: Connection"),
        ("a b", answers.url, "not a git branch name: 'a b'"),
    ):
        done = run(branch, "--url", url)
        assert done.exit_code == 2
        assert done.stderr.startswith(words), done.stderr
        assert len(done.stderr.splitlines()) == 1
    both = run("--url", nobody, "--repository", "/r")
    assert (both.exit_code, "--url asks a gateway" in both.stderr) == (2, True)


def test_the_address_comes_from_the_file_where_no_url_is_given(
    answers: Answers, tmp_path: Path
) -> None:
    url = answering(answers, document())
    file = tmp_path / "gateway.yaml"
    file.write_text(f"repository: /r\nlisten: '{url.removeprefix('http://')}'\n")
    assert "exp beside prod" in run("--config", file).stdout
    gone = run("--config", tmp_path / "gone.yaml")
    assert (gone.exit_code, "gone.yaml" in gone.stderr) == (2, True)


def test_a_command_that_cannot_know_which_gateway_is_meant_says_how_to_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run()
    assert found.exit_code == 2
    assert "gateway.yaml: is not there: name the file with --config" in found.output
    assert "or the gateway with --url" in found.output


def test_one_form_at_a_time() -> None:
    found = run("--json", "--markdown")
    assert found.exit_code == 2
    assert "Give --json or --markdown, not both" in found.output
