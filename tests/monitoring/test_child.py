"""The monitor as the front starts it: from any folder, and counted from this start on."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gitrepo import Remote
from running import Gateway, recorded, serve_py
from waiting import wait_until

from gateway.monitoring.child import MonitorChild, MonitorDied


def test_files_beside_gateway_yaml_do_not_stand_in_for_modules(
    tmp_path: Path, remote: Remote
) -> None:
    """A data scientist's folder holds gateway.py, random.py, statistics.py."""
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    for name in ("gateway", "random", "logging", "json"):
        (gateway.folder / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    command = Path(sys.executable).with_name("gateway")
    log = gateway.folder / "words"
    with log.open("wb") as words:
        front = subprocess.Popen(
            [command, "serve", "gateway.yaml"],
            cwd=gateway.folder,
            stderr=words,
            env={key: text for key, text in os.environ.items() if key != "PYTHONPATH"},
        )
    try:
        wait_until(lambda: "listening on" in log.read_text())
        address = log.read_text().partition("listening on ")[2].split('"')[0]
        gateway.url = address.split()[0]
        wait_until(gateway.is_ready, describe=log.read_text)
        gateway.predict()
        wait_until(lambda: recorded(remote, "prod"), describe=log.read_text)
        assert "wrong module" not in log.read_text()
    finally:
        front.terminate()
        assert front.wait(90) == 0


def test_a_restart_does_not_count_the_pushes_of_the_run_before(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    """An alert on failed pushes must not ring because of what was mended long ago."""
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    gateway.predict()
    wait_until(lambda: recorded(remote, "prod"))
    assert gateway.stop() == 0
    tip = remote.tip("prod")
    gateway.start()
    # The monitor has spoken when its pid is known and it has said what it last pushed.
    wait_until(lambda: gateway.get("/branches").json()["recording"]["monitor_pid"])
    assert gateway.get("/branches").json()["recording"]["experiments"] == {"trouble": None}
    polls = gateway.metric('gateway_polls_total{result="ok"}')
    wait_until(lambda: gateway.metric('gateway_polls_total{result="ok"}') > polls + 6)

    def counts_its_own() -> bool:
        pushed = gateway.metric('gateway_pushes_total{branch="prod",result="pushed"}')
        return pushed == (0 if remote.tip("prod") == tip else 1)

    # A push is in git a moment before the monitor tells of it.
    wait_until(counts_its_own, describe=gateway.words)


def test_experiments_stand_still_where_the_monitor_says_so_or_is_none(tmp_path: Path) -> None:
    said = {"trouble": None, "experiments": {"trouble": "experiments stand still: no room"}}
    line = json.dumps(said)
    child = MonitorChild(["echo", line], os.environ, tmp_path / "monitor.json", lambda _: None)
    assert child.experiments_trouble() is None  # nobody has said anything yet
    (tmp_path / "monitor.json").write_text(line)
    child.remember()
    assert child.experiments_trouble() == "experiments stand still: no room"
    assert child.report()["experiments"] == said["experiments"]
    with pytest.raises(MonitorDied, match="ended with 0"):
        asyncio.run(child.run())
    assert "the monitor ended with exit code 0" in (child.experiments_trouble() or "")
    assert child.report()["experiments"]["trouble"] == child.experiments_trouble()
