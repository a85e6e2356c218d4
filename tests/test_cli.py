"""The commands teach themselves, and say what is wrong with words and an exit code."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main

RIGHT = "repository: /r\nbaseline: prod\nbranches:\n  prod: {weight: 90}\n  exp: {weight: 30}\n"


def gateway(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def all_commands() -> str:
    return gateway("--help").stdout


COMMANDS = [
    "check",
    "demo",
    "drift",
    "explain",
    "export",
    "feedback",
    "healthcheck",
    "hold",
    "key",
    "monitor",
    "plan",
    "profile",
    "release",
    "replay",
    "report",
    "results",
    "serve",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_command_and_each_explains_itself(command: str, all_commands: str) -> None:
    assert f"\n  {command} " in all_commands
    explained = gateway(command, "--help")
    assert explained.returncode == 0
    assert explained.stdout.startswith(f"Usage: gateway {command} ")
    assert len(explained.stdout.splitlines()) > 5


def test_no_command_is_left_out_above() -> None:
    assert set(main.commands) == set(COMMANDS)


@pytest.mark.parametrize("command", ["healthcheck", "monitor", "serve"])
def test_help_has_its_short_form_also_where_a_command_is_run_by_itself(command: str) -> None:
    assert gateway(command, "-h").stdout == gateway(command, "--help").stdout


def test_a_monitor_imports_nothing_of_what_serves(tmp_path: Path) -> None:
    """Each gateway pays for it. This one ends at once: nobody holds the other end of its input."""
    code = (
        "import sys; from gateway.__main__ import main\n"
        f"sys.argv = ['gateway', 'monitor', '--settings', {str(tmp_path / 'none.json')!r}]\n"
        "try: main()\n"
        "finally: print(sorted({'gateway.monitoring.monitor', 'gateway.cli', 'sklearn', 'uvicorn',"
        " 'starlette', 'jinja2'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "['gateway.monitoring.monitor']", done.stderr


def test_check_says_the_split_of_a_right_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(RIGHT)
    done = gateway("check", file)
    assert done.returncode == 0
    assert "prod: 75.0% of the users, the baseline" in done.stdout
    assert "exp: 25.0%" in done.stdout


def test_check_says_how_a_ramp_begins_and_ends(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(RIGHT.replace("{weight: 30}", "{ramp: {steps: [2, 25]}}"))
    done = gateway("check", file)
    assert done.returncode == 0, done.stderr
    assert "prod: 98.0% of the users, the baseline" in done.stdout
    assert "exp: 2.0% of the users at first, by its ramp up to 25.0%" in done.stdout


def test_check_says_what_a_shadow_gets(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(RIGHT + "  dev: {shadow: true, shadow_share: 0.25}\n")
    done = gateway("check", file)
    assert done.returncode == 0
    assert "exp: 25.0%" in done.stdout
    assert "dev: a shadow, copies of 25.0% of the answered requests" in done.stdout


def test_check_says_what_may_be_loaded_and_whether_the_keys_are_any(tmp_path: Path) -> None:
    file, keys = tmp_path / "gateway.yaml", tmp_path / "signers"
    file.write_text(RIGHT + "trust: {formats: [onnx], branches: [prod]}\n")
    assert "  trust: of prod the formats onnx\n" in gateway("check", file).stdout
    file.write_text(RIGHT + "trust: {signed_by: signers}\n")
    told = f"of every branch what is signed by keys in {keys}"
    assert f"  trust: {told}, which is not here\n" in gateway("check", file).stdout
    keys.write_text("ada@example.org\n")
    done = gateway("check", file)
    assert (done.returncode, done.stdout.count("trust")) == (2, 0)
    assert f"trust.signed_by: {keys}: must hold allowed signers" in done.stderr


@pytest.mark.parametrize("command", ["check", "serve", "export"])
def test_a_wrong_file_ends_every_command_with_all_mistakes(tmp_path: Path, command: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(RIGHT.replace("90", "ninety").replace("repository", "repo"))
    done = gateway(*(["export", "prod", "--config"] if command == "export" else [command]), file)
    assert done.returncode == 2
    assert "gateway.yaml:1:1: repo: " in done.stderr
    assert "gateway.yaml:4:18: branches.prod.weight: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "gateway.yaml"
        file.write_text(RIGHT + f"listen: 127.0.0.1:{port}\n")
        done = gateway("serve", file)
    assert done.returncode == 2
    assert f"127.0.0.1:{port}: cannot listen: Address already in use" in done.stderr
