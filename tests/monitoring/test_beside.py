"""A front follows a monitor that it did not start, and says so when there is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playedmonitor import PlayedMonitor
from waiting import wait_until_async

from gateway.monitoring.beside import MonitorBeside
from gateway.monitoring.child import MonitorChild, MonitorDied
from gateway.monitoring.ear import EAR_FILE

SHARED: dict[str, Any] = {"role": "leads", "trouble": None, "replicas": {"a": {}}, "looks": 3}


class Front:
    """A monitor as a front has it, and what it was told of."""

    def __init__(self, state: Path, *, shares: bool = False) -> None:
        self.told: list[dict[str, Any]] = []
        said = state / "monitor.json"
        self.monitor = MonitorBeside(said, state / EAR_FILE, self.told.append, shares=shares)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[MonitorBeside]:
        task = asyncio.create_task(self.monitor.run())
        try:
            yield self.monitor
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def test_what_it_says_is_told_once_and_no_monitor_is_a_trouble(tmp_path: Path) -> None:
    front = Front(tmp_path)

    async def scene() -> None:
        async with front.running() as monitor:
            await wait_until_async(lambda: "no monitor runs" in (monitor.report()["trouble"] or ""))
            assert "no monitor runs" in (monitor.experiments_trouble() or "")
            with PlayedMonitor(tmp_path) as played:
                played.say(rows={"prod": 1})
                await wait_until_async(lambda: front.told)
                assert monitor.report()["rows"] == {"prod": 1}
                assert monitor.report()["trouble"] is None
                played.say(trouble="no room")
                await wait_until_async(lambda: monitor.report()["trouble"] == "no room")
            await wait_until_async(lambda: "no monitor runs" in monitor.report()["trouble"])
            assert [sorted(one) for one in front.told] == [
                ["rows", "waiting"],
                ["trouble", "waiting"],
            ]
            await monitor.stop(0.0)

    asyncio.run(scene())


def test_its_words_are_heard_and_lost_where_nobody_listens(tmp_path: Path) -> None:
    monitor = Front(tmp_path).monitor
    monitor.look()
    with PlayedMonitor(tmp_path) as played:
        monitor.look()
        monitor.look_elsewhere()
        assert played.heard() == ["look", "remote"]


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_file_that_holds_no_document_is_a_trouble_until_it_does(
    text: str, tmp_path: Path
) -> None:
    front = Front(tmp_path)

    async def scene() -> None:
        with PlayedMonitor(tmp_path) as played:
            (tmp_path / "monitor.json").write_text(text)
            async with front.running() as monitor:
                await wait_until_async(
                    lambda: "cannot be read" in (monitor.report()["trouble"] or "")
                )
                played.say(rows={})
                await wait_until_async(lambda: front.told and monitor.report()["trouble"] is None)

    asyncio.run(scene())


def test_what_is_shared_is_told_only_where_something_is(tmp_path: Path) -> None:
    alone, sharing = Front(tmp_path).monitor, Front(tmp_path, shares=True).monitor
    assert alone.report()["shared"] is None
    silent = {"role": "alone", "trouble": "the monitor has said nothing yet"}
    assert sharing.report()["shared"] == silent
    with PlayedMonitor(tmp_path) as played:
        played.say(shared=SHARED)
    for monitor in (alone, sharing):
        monitor.remember()
    assert alone.report()["shared"] is None
    assert sharing.report()["shared"] == SHARED


def test_a_monitor_that_died_shares_nothing_and_leads_nobody(tmp_path: Path) -> None:
    with PlayedMonitor(tmp_path) as played:
        played.say(shared=SHARED)
    said = tmp_path / "monitor.json"
    child = MonitorChild(["true"], os.environ, said, lambda _: None, shares=True)
    child.remember()
    with pytest.raises(MonitorDied):
        asyncio.run(child.run())
    found = child.report()["shared"]
    assert found["role"] == "alone"
    assert "ended with exit code 0" in found["trouble"]
    assert found["replicas"] == SHARED["replicas"]
