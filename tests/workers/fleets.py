"""A real fleet over plain directories: snapshots made by hand, everything it says kept."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from waiting import wait_until_async

from gateway.config.environments import EnvironmentsConfig
from gateway.config.sections import BranchConfig, LimitsConfig, Privacy
from gateway.environments.keeping import Environments
from gateway.metrics import Metrics
from gateway.names import Branch, Commit, Fingerprint
from gateway.repositories.move import Move
from gateway.workers.containment import Containment
from gateway.workers.fleet import Fleet
from gateway.workers.jobs import Answer, Job
from gateway.workers.launch import Launch
from gateway.workers.slot import Slot
from gateway.workers.surroundings import Patience

SINS = Path(__file__).parents[1] / "sins"
PROD = Branch("prod")
DEV = Branch("dev")
#: Workers around which nothing is: what branches do here is seen by marks they leave elsewhere.
UNCONTAINED = Launch(grace=2.0, containment=Containment("off"))
QUICK = Patience(load=120.0, frame=60.0, first_wait=0.02, longest_wait=0.1)


def sin(name: str) -> str:
    return (SINS / f"{name}.py").read_text()


def commit_of(text: object) -> Commit:
    return Commit(blake2b(repr(text).encode(), digest_size=20).hexdigest())


def snapshot(folder: Path, files: dict[str, str | bytes], branch: Branch = PROD) -> Move:
    """A directory as the snapshots' door would make it, and the move that points at it."""
    digest = blake2b(digest_size=16)
    for name, content in sorted(files.items()):
        data = content.encode() if isinstance(content, str) else content
        digest.update(name.encode() + b"\0" + data)
    fingerprint = Fingerprint(digest.hexdigest())
    root = folder / fingerprint
    for name, content in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    commit = commit_of((fingerprint, branch))
    return Move(branch, commit, commit, True, fingerprint, root)


def serving_code(folder: Path, source: str, branch: Branch = PROD) -> Move:
    return snapshot(folder, {"src/serve.py": source}, branch)


def constant(folder: Path, value: object, branch: Branch = PROD) -> Move:
    """A tiny model that answers `value` for every row."""
    body = f"ROW_WISE = True\ndef predict(model, rows): return [{value!r} for _ in rows]\n"
    return serving_code(folder, body, branch)


class Leases:
    """Counts who holds which snapshot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: Counter[Fingerprint] = Counter()

    def __call__(self, fingerprint: Fingerprint) -> HeldLease:
        self.held[fingerprint] += 1
        return HeldLease(self, fingerprint)

    @property
    def now(self) -> set[Fingerprint]:
        return {fingerprint for fingerprint, count in self.held.items() if count}


class HeldLease:
    """One entry of Leases."""

    def __init__(self, leases: Leases, fingerprint: Fingerprint) -> None:
        self.root = leases.folder / fingerprint
        self._leases = leases
        self._fingerprint = fingerprint

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leases.held[self._fingerprint] -= 1


class World:
    """A fleet and everything it told."""

    def __init__(self, folder: Path, **fleet: Any) -> None:
        self.folder = folder
        self.metrics = Metrics()
        self.leases = Leases(folder)
        self.frames: list[list[tuple[Job, Answer]]] = []
        self.decisions: list[tuple[Any, ...]] = []
        self.logs: list[tuple[Any, ...]] = []
        self.pids: set[int] = set()
        arguments: dict[str, Any] = {
            "branches": {PROD: BranchConfig()},
            "limits": LimitsConfig(),
            "privacy": Privacy(),
            "patience": QUICK,
            "environments": Environments(folder / "environments", EnvironmentsConfig(), {}),
            "launch": UNCONTAINED,
            **fleet,
        }
        self.fleet = Fleet(
            metrics=self.metrics,
            lease=self.leases,
            answered=self.frames.append,
            decided=lambda *said: self.decisions.append(said),
            logged=lambda *said: self.logs.append(said),
            **arguments,
        )

    def slot(self, branch: Branch = PROD) -> Slot:
        return self.fleet.slot(branch)

    def state(self, branch: Branch = PROD) -> dict[str, Any]:
        state = self.slot(branch).state
        self.pids.update(worker["pid"] for worker in state["workers"])
        self.pids.update(spare["pid"] for spare in self.fleet.spares.status if spare["pid"])
        return state

    async def settled(self, move: Move) -> dict[str, Any]:
        """Once the move serves or is quarantined."""
        self.fleet.offer(move)

        def done() -> bool:
            state = self.state(move.branch)
            serving = state["serving"] and state["serving"]["commit"] == move.commit
            return bool(serving) or state["quarantined"] == move.fingerprint

        await wait_until_async(done, 120.0, lambda: (self.state(move.branch), self.logs))
        return self.state(move.branch)

    async def joined(self, count: int) -> None:
        """Once so many workers are there: the first serves before the others have loaded."""
        await wait_until_async(lambda: len(self.state()["workers"]) == count, describe=self.state)

    def submit(
        self,
        rows: object,
        branch: Branch = PROD,
        *,
        timeout: float = 60.0,
        count: int | None = None,
        unit: str | None = None,
        hurried: bool = False,
        patient: bool = False,
    ) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        payload = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
        if count is None:
            count = len(rows) if isinstance(rows, list) else 1
        future: asyncio.Future[Answer] = loop.create_future()
        job = Job(payload, count, loop.time() + timeout, None, future, hurried, unit)
        self.slot(branch).submit(job, patient=patient)
        return future

    async def ask(self, rows: object, branch: Branch = PROD) -> Any:
        return json.loads((await self.submit(rows, branch)).predictions)

    def exits(self, reason: str, branch: Branch = PROD) -> float:
        labels = {"branch": str(branch), "reason": reason}
        value = self.metrics.registry.get_sample_value("gateway_worker_exits_total", labels)
        return value or 0.0


@asynccontextmanager
async def running(folder: Path, **fleet: Any) -> AsyncIterator[World]:
    """A running fleet; at the end every process it showed is gone and no lease is held."""
    world = World(folder, **fleet)
    task = asyncio.ensure_future(world.fleet.run())
    try:
        yield world
        world.pids.update(w["pid"] for b in _branches(world) for w in world.state(b)["workers"])
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    # What a worker left behind is killed with its group, and dies in its own time.
    await wait_until_async(lambda: not any(map(alive, world.pids)), describe=lambda: world.pids)
    assert world.leases.now == set()


def _branches(world: World) -> Iterable[Branch]:
    return list(world.fleet._keepers)


def alive(pid: int) -> bool:
    """Whether the process runs, or is a zombie of ours; another's zombies are not ours to bury."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # gone just now, or there is no /proc
        return not Path("/proc/self/stat").exists()
    state, parent = text.rpartition(")")[2].split()[:2]
    return state != "Z" or int(parent) == os.getpid()
