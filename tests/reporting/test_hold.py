"""`gateway hold` and `gateway release`: taken by a monitor, or withdrawn; the test plays it."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gitrepo import Remote
from msgspec import to_builtins
from playedmonitor import PlayedMonitor
from running import Gateway, serve_py
from steeringfacts import EXP, guardrail, ramped, readout, weighted
from waiting import wait_until

from gateway import operating
from gateway.cli import main
from gateway.commands_folder import FOLDER, settle, withdrawals
from gateway.config.document import load_config
from gateway.errors import StateError
from gateway.names import Branch
from gateway.reporting import hold_command
from gateway.shared.place import RedisSettings

A = "a" * 32


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A gateway.yaml whose gateway has run here, with three branches and a shadow."""
    file = tmp_path / "gateway.yaml"
    file.write_text("repository: /r\nbaseline: prod\nbranches: {prod: {weight: 1}}\n")
    state = tmp_path / ".gateway"
    state.mkdir()
    arms = {"dev": {"weight": 0, "configured": "d", "shadow": True}}
    settings = {
        "repository": "/r",
        "state_dir": str(state),
        "monitoring": {"flush": 1, "retention": 1, "journal_bytes": 1},
        "branches": ["prod", "exp", "team/b", "dev"],
        "baseline": "prod",
        "experiment": {"branches": arms},
        "unknown": 1,
    }
    (state / "monitor-settings.json").write_text(json.dumps(settings))
    return file


@pytest.fixture
def monitor(file: Path) -> Any:
    with PlayedMonitor(file.parent / ".gateway") as monitor:
        yield monitor


def left(file: Path) -> list[str]:
    folder = file.parent / ".gateway" / FOLDER
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def test_a_hold_is_in_force_when_the_command_ends_and_a_release_ends_it(
    file: Path, monitor: PlayedMonitor
) -> None:
    monitor.run(lambda: (ramped(), weighted(Branch("team/b"))))
    done = run("hold", "exp", "--reason", " a freeze\n\x1b[31m ", "--config", file)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        "exp is held, 1 % of the users: step 1 of 3 of its ramp: 1 % of the users, held:"
        " by an operator, a freeze \ufffd[31m\n"
    )
    done = run("release", "exp", "--config", file)
    assert done.stdout.startswith("exp is ramping, 1 % of the users: step 1 of 3")
    done = run("hold", "team/b", "--out", "--config", file)
    assert done.stdout == "team/b is held, 0 % of the users: has no users, by an operator\n"
    assert monitor.memory.branches["team/b"].hold is not None
    done = run("release", "team/b", "--config", file)
    assert done.stdout == "team/b has the users that gateway.yaml gives it\n"
    done = run("release", "team/b", "--config", file)  # of nothing
    assert (done.exit_code, left(file)) == (0, [])


def test_an_ejected_branch_is_released(file: Path, monitor: PlayedMonitor) -> None:
    harm = readout(A, guardrail(log_e=5.0))
    monitor.run(lambda: (weighted(readout=harm),))
    wait_until(lambda: monitor.memory.branches.get(EXP) and monitor.memory.branches[EXP].ejections)
    done = run("hold", "exp", "--config", file)
    assert done.stdout.startswith("exp is ejected, 0 % of the users: error_rate: error_rate says")
    assert run("release", "exp", "--config", file).exit_code == 0
    assert not monitor.memory.branches[EXP].ejections


@pytest.mark.parametrize("command", ["hold", "release"])
def test_where_nobody_takes_it_that_is_said_and_it_is_withdrawn(
    file: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold_command, "PATIENCE", 0.3)
    done = run(command, "exp", "--config", file)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no gateway took it within 0.3 s, and it is withdrawn: is the gateway" in done.stderr
    assert left(file) == []


@pytest.fixture
def shared(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The gateway of that file is one of several replicas, and nobody acts in time."""
    path = file.parent / ".gateway" / "monitor-settings.json"
    redis = RedisSettings("/dev/fd/9", "redis.url_env", "p", 1, "a" * 16, "b" * 8)
    path.write_text(json.dumps({**json.loads(path.read_text()), "redis": to_builtins(redis)}))
    monkeypatch.setattr(hold_command, "PATIENCE", 0.3)
    return file


@pytest.mark.parametrize(
    ("is_taken", "code", "words"),
    [
        (False, 1, "no gateway took it within 0.3 s, and it is withdrawn"),
        (True, 0, "exp: the replica that leads has it by now"),
    ],
)
def test_a_replica_says_what_became_of_a_word_that_is_withdrawn(
    shared: Path, is_taken: bool, code: int, words: str
) -> None:
    state = shared.parent / ".gateway"

    def settled() -> bool:
        for command in withdrawals(state):
            settle(state, command, is_taken=is_taken)
            return True
        return False

    playing = threading.Thread(target=wait_until, args=(settled,))
    playing.start()
    done = run("hold", "exp", "--config", shared)
    playing.join()
    assert done.exit_code == code
    assert words in done.stdout + done.stderr
    assert left(shared) == []


def test_a_word_that_may_have_come_to_redis_is_not_said_to_be_withdrawn(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operating, "WITHDRAWING", 0.3)
    done = run("hold", "exp", "--config", shared)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "it cannot be said whether it came to Redis: it is withdrawn there" in done.stderr
    [name] = left(shared)
    assert name.endswith(".json.withdrawn"), "for this replica's monitor, whenever it can ask"


@pytest.mark.parametrize(
    ("branch", "words"),
    [
        ("exq", "'exq': no such branch is served; there are: exp, team/b"),
        ("prod", "'prod': is the baseline: it has the users that the other branches leave"),
        ("dev", "'dev': is a shadow: it has no users"),
        ("\x1b[2J", "no such branch is served"),
    ],
)
@pytest.mark.parametrize("command", ["hold", "release"])
def test_a_branch_that_has_no_users_to_take_is_refused_by_name(
    file: Path, command: str, branch: str, words: str
) -> None:
    done = run(command, branch, "--config", file)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.strip().isprintable()
    assert left(file) == []


def test_a_place_where_no_gateway_ran_and_a_wrong_file_are_refused(file: Path) -> None:
    settings = file.parent / ".gateway" / "monitor-settings.json"
    settings.write_text("{")
    assert (
        "monitor-settings.json: not the monitor's settings: "
        in run("hold", "exp", "--config", file).stderr
    )
    settings.unlink()
    done = run("hold", "exp", "--config", file)
    assert done.exit_code == 2
    assert "no gateway has run with this state_dir yet" in done.stderr
    done = run("hold", "exp", "--config", file.parent / "none.yaml")
    assert done.exit_code == 2
    assert "none.yaml: cannot be read" in done.stderr


def test_a_state_directory_that_cannot_be_written_is_named(file: Path) -> None:
    (file.parent / ".gateway" / FOLDER).write_text("in the way")
    done = run("hold", "exp", "--config", file)
    assert done.exit_code == 2
    assert "commands: cannot be written: " in done.stderr


def test_orders_that_cannot_be_read_are_named(file: Path, monitor: PlayedMonitor) -> None:
    (monitor.state_dir / "allocation.json").write_text("{")
    with pytest.raises(StateError, match=r"cannot be read"):
        operating.orders_in(monitor.state_dir)
    assert operating.orders_in(file.parent).branches == {}


def test_a_hold_takes_the_users_of_a_running_gateway_and_a_release_gives_them_back(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("prod"))
    remote.commit("exp", serve_py("exp"), start="prod")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 50}, "exp": {"weight": 50}})
    gateways.append(gateway)
    with PlayedMonitor(tmp_path / "g" / ".gateway") as monitor:
        gateway.start()
        configured = load_config(gateway.file).configured(EXP)
        one = weighted(weight=50.0, configured=configured, readout=None)
        one = replace(one, fingerprint=gateway.branch("exp")["serving"]["fingerprint"])
        monitor.run(lambda: (one,))
        assert run("hold", "exp", "--out", "--config", gateway.file).exit_code == 0
        wait_until(lambda: gateway.branch("exp")["share"] == 0, describe=gateway.words)
        assert gateway.branch("exp")["allocation"]["state"] == "held"
        assert run("hold", "exq", "--config", gateway.file).exit_code == 2
        assert run("release", "exp", "--config", gateway.file).exit_code == 0
        wait_until(lambda: gateway.branch("exp")["share"] == 0.5, describe=gateway.words)
