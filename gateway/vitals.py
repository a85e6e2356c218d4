"""The keeper that looks at the gateway's processes: memory, processors, files, disk, the loop.

Reads /proc every few seconds in a thread, by the ids of processes that others own; where there is
no /proc it sees nothing and says so by absent series. No request ever waits for it.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.machine_metrics import Machine, Use
from gateway.metrics import Metrics
from gateway.names import Branch

LOOK_EVERY = 5.0
#: How often the loop is asked how late it is.
_PULSE = 0.25


@dataclass(frozen=True, slots=True)
class Holders:
    """Which processes there are, and whose they are."""

    processes: Mapping[str, Sequence[int]]
    workers: Mapping[Branch, Sequence[int]]


class Vitals:
    """`holders` is asked in the loop, and everything slow is done beside it."""

    def __init__(self, metrics: Metrics, state_dir: Path, holders: Callable[[], Holders]) -> None:
        self._metrics = metrics
        self._state_dir = state_dir
        self.holders = holders
        self._spent = _Spent()

    async def run(self) -> None:
        """The keeper's body."""
        loop = asyncio.get_running_loop()
        while True:
            found = await asyncio.to_thread(self.look, self.holders())
            self._metrics.machine.machine = found
            for _ in range(round(LOOK_EVERY / _PULSE)):
                due = loop.time() + _PULSE
                await asyncio.sleep(_PULSE)
                self._metrics.loop_lag.observe(max(0.0, loop.time() - due))

    def look(self, holders: Holders) -> Machine | None:
        """One look; None where there is no /proc."""
        files = Path("/proc/self/fd")
        if not files.is_dir():
            return None
        seen = {
            pid: process
            for pids in (*holders.processes.values(), *holders.workers.values())
            for pid in pids
            if (process := _process(pid)) is not None
        }
        disk = os.statvfs(self._state_dir)
        spent = self._spent.add(
            {("", name): pids for name, pids in holders.processes.items()}
            | {("branch", str(name)): pids for name, pids in holders.workers.items()},
            seen,
        )

        def use(kind: str, name: str, pids: Sequence[int]) -> Use:
            there = [seen[pid] for pid in pids if pid in seen]
            return Use(
                sum(one.resident for one in there),
                max((one.own for one in there), default=0),
                spent[kind, name],
            )

        return Machine(
            {name: use("", name, pids) for name, pids in holders.processes.items()},
            {name: use("branch", name, pids) for name, pids in holders.workers.items()},
            sum(1 for _ in files.iterdir()),
            resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            disk.f_bavail * disk.f_frsize,
            disk.f_blocks * disk.f_frsize,
        )


@dataclass(frozen=True, slots=True)
class _Process:
    #: Since when it has this id, in clock ticks: ids are used again.
    began: int
    resident: int
    own: int
    cpu_seconds: float


def _process(pid: int) -> _Process | None:
    """None of one that has ended."""
    try:
        # The name in brackets may hold anything, also brackets.
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        pages = Path(f"/proc/{pid}/statm").read_bytes().split()
    except OSError:
        return None
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    return _Process(
        began=int(words[19]),
        resident=int(pages[1]) * page,
        own=int(pages[5]) * page,
        cpu_seconds=(int(words[11]) + int(words[12])) / ticks,
    )


class _Spent:
    """Processor time by holder: it goes on when a process ends, and follows a spare that moves."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], float] = {}
        self._sums: dict[tuple[str, str], float] = {}

    def add(
        self,
        holders: Mapping[tuple[str, str], Sequence[int]],
        seen: Mapping[int, _Process],
    ) -> Mapping[tuple[str, str], float]:
        """What each holder's processes spent since their last look, put to what it had."""
        known: dict[tuple[int, int], float] = {}
        sums = {}
        for holder, pids in holders.items():
            total = self._sums.get(holder, 0.0)
            for pid in pids:
                if (process := seen.get(pid)) is None:
                    continue
                key = pid, process.began
                total += process.cpu_seconds - self._known.get(key, 0.0)
                known[key] = process.cpu_seconds
            sums[holder] = total
        self._known, self._sums = known, sums
        return sums
