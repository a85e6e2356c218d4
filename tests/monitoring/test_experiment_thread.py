"""Experiments beside publishing, in the monitor's own process: neither waits for the other."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from experimenting import settings
from gitrepo import Remote
from journalling import EXP, PROD, World
from monitorprocess import MonitorProcess, pushed_rows
from waiting import wait_until


class Silent:
    """A server that takes connections and never says a word."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(60)
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}/project.git"
        self._taken: list[socket.socket] = []

    def take(self) -> None:
        """Wait for somebody who waits for an answer."""
        self._taken.append(self._listening.accept()[0])

    def is_waited_for(self) -> bool:
        """Has whoever came not gone yet?"""
        self._taken[-1].settimeout(0.01)
        with contextlib.suppress(TimeoutError):
            while self._taken[-1].recv(4096):
                pass
            return False
        return True

    def close(self) -> None:
        for one in (*self._taken, self._listening):
            one.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    silent = Silent()
    yield silent
    silent.close()


@pytest.fixture
def monitors() -> Iterator[list[MonitorProcess]]:
    monitors: list[MonitorProcess] = []
    yield monitors
    for monitor in monitors:
        monitor.kill()


def experiment(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(settings(folder).experiment)
    return found


def serving(folder: Path, world: World) -> None:
    found = {
        branch: {"fingerprint": content, "commit": "c" * 40}
        for branch, content in world.contents.items()
    }
    (folder / "served.json").write_text(json.dumps(found))


def fail(world: World, requests: int = 80) -> None:
    """The candidate fails for everybody, just now."""
    for _ in range(requests):
        world.now = time.time()
        world.serve(broken=EXP, reason="split")


def order(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError):
        found: dict[str, Any] = json.loads((folder / "allocation.json").read_bytes())
        return dict(found["branches"].get("exp") or {})
    return {}


def test_a_remote_that_never_answers_delays_no_ejection_and_no_edit(
    tmp_path: Path, remote: Remote, silent: Silent, monitors: list[MonitorProcess]
) -> None:
    state = tmp_path / "state"
    world = World(state / "journal", now=time.time())
    monitor = MonitorProcess(
        state, remote, [PROD, EXP], url=silent.address, experiment=experiment(state)
    )
    monitors.append(monitor)
    serving(state, world)
    world.live(0.5)
    world.journal.seal()
    monitor.start()
    silent.take()  # publishing hangs from here on
    fail(world)
    wait_until(lambda: order(state).get("state") == "ejected", describe=monitor.words)
    assert silent.is_waited_for()
    # gateway.yaml is edited, which ends it until the guardrail is looked at again.
    monitor.experiment["branches"]["exp"]["configured"] = "another weight"
    monitor.write_settings()
    wait_until(lambda: "allocation_ended" in monitor.words(), describe=monitor.words)
    assert silent.is_waited_for()


def test_experiments_that_cannot_go_on_say_so_and_hold_up_no_row(
    tmp_path: Path, remote: Remote, monitors: list[MonitorProcess]
) -> None:
    for branch in (PROD, EXP):
        remote.commit(branch, {"README.md": branch})
    state = tmp_path / "state"
    world = World(state / "journal", now=time.time())
    monitor = MonitorProcess(state, remote, [PROD, EXP], experiment=experiment(state))
    monitors.append(monitor)
    serving(state, world)
    (state / "experiment.json").mkdir()
    monitor.start()

    def trouble() -> Any:
        return (monitor.status().get("experiments") or {}).get("trouble")

    wait_until(trouble, describe=monitor.words)
    assert "experiment.json" in trouble()
    fail(world, 20)
    world.journal.seal()
    monitor.look()
    wait_until(lambda: len(pushed_rows(remote)) >= 20, describe=monitor.words)
    (state / "experiment.json").rmdir()
    wait_until(lambda: monitor.status()["experiments"]["trouble"] is None, describe=monitor.words)
    wait_until(lambda: (state / "experiment.json").is_file(), describe=monitor.words)
    assert monitor.finish() == 0
