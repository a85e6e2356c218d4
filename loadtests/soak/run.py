"""A soak from end to end: build, serve, load, do what is planned, stop, audit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.bench.subject import dropped_rows
from loadtests.gateway_process import GatewayProcess
from loadtests.repository import Clone, Commits, DidNotLand
from loadtests.soak.audit import FALLBACK_OVERLOAD, Findings, audit
from loadtests.soak.director import Deeds, Director
from loadtests.soak.failures import Failures, failures
from loadtests.soak.flatness import SHORTEST, Trend, trends
from loadtests.soak.gauge import Sample, look
from loadtests.soak.ledger import Excuse, Ledger
from loadtests.soak.logs import defects
from loadtests.soak.plan import Deed, plan
from loadtests.soak.project import CANDIDATE, OWN, PROD, WEIGHTS, Team, build
from loadtests.soak.traffic import Traffic
from loadtests.soak.written import Written

QUEUE_ROWS = 2000
FLUSH = "5s"
#: Long, as the front may be killed again and again meanwhile, on a machine that is busy.
_LANDED_SECONDS = 180.0
_PUBLISHED_SECONDS = 120.0
_CHILDREN_SECONDS = 20.0
_LOOK_EVERY = 1.0
_THREADS = 32


@dataclass(frozen=True)
class Options:
    """How the soak is run."""

    seconds: float
    seed: int
    clients: int


@dataclass
class Soak:
    """All that came of it."""

    options: Options
    ledger: Ledger
    deeds: Deeds
    samples: list[Sample] = field(default_factory=list)
    #: Seconds of traffic.
    lasted: float = 0.0
    #: Seconds until everything recorded was in git, once nobody asked any more.
    published_after: float = 0.0
    problems: list[str] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    failed: Failures = field(default_factory=Failures)
    trends: list[Trend] = field(default_factory=list)
    segments: int = 0
    monitoring_commits: int = 0

    def all_problems(self) -> list[str]:
        found = [*self.problems, *self.deeds.troubles, *self.failed.problems()]
        found += self.findings.problems()
        return found + [
            f"it grew: {each.what}, from {each.early:,.0f} to {each.late:,.0f};"
            f" at most {each.allowed:,.0f} would do"
            for each in self.trends
            if self.judges_growth and not each.is_flat
        ]

    @property
    def judges_growth(self) -> bool:
        """Not where it was to be short: what makes it long is a slow machine, and the start."""
        return self.options.seconds >= SHORTEST


async def soak(options: Options, folder: Path, say: Callable[[str], None]) -> Soak:
    """Run it in an empty folder. DidNotLand where it cannot begin."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    repository = await asyncio.to_thread(build, folder)
    gateway = GatewayProcess(folder, _settings(repository), patience=_LANDED_SECONDS)
    gateway.weigh(WEIGHTS)
    try:
        await asyncio.to_thread(gateway.start)
        ledger = Ledger(time.monotonic)
        traffic = Traffic(gateway.port, ledger, options.seed, options.clients)
        team = Team(Clone(folder / "clone", repository))
        director = Director(gateway, team, traffic, ledger, say)
        found = Soak(options, ledger, director.deeds)
        await _loaded(found, gateway, traffic, director)
        say("every deed is done and in force; nobody asks any more")
        await asyncio.to_thread(_ended, found, gateway, folder / "state" / "journal")
    finally:
        # Not on the loop: those who are slow would keep their connections open, and it from ending.
        await asyncio.to_thread(gateway.stop)
    say("the gateway has ended; reading what it wrote")
    await asyncio.to_thread(_judge, found, repository, folder)
    return found


def _settings(repository: Path) -> dict[str, object]:
    # One that lost its worker has the time to get another: no request is answered late.
    patient = {"timeout": "25s"}
    return {
        "repository": str(repository),
        "baseline": PROD,
        "branches": {
            PROD: patient,
            CANDIDATE: {**patient, "workers": 2},
            OWN: {**patient, "fallback": False},
        },
        "poll": "500ms",
        "monitoring": {"flush": FLUSH, "sample_rows": "all"},
        "limits": {"queue_rows": QUEUE_ROWS},
    }


async def _loaded(
    found: Soak, gateway: GatewayProcess, traffic: Traffic, director: Director
) -> None:
    """Traffic and deeds, with a look at every process meanwhile."""
    clock, options = found.ledger.clock, found.options
    begun = clock()

    async def watch() -> None:
        while True:
            found.samples += await asyncio.to_thread(look, gateway.tree, clock())
            await asyncio.sleep(_LOOK_EVERY)

    watching = asyncio.create_task(watch())
    try:
        traffic.start()
        await director.run(plan(options.seed, options.seconds))
        await asyncio.sleep(max(0.0, begun + options.seconds - clock()))
        await traffic.stop()
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    found.lasted = clock() - begun


def _ended(found: Soak, gateway: GatewayProcess, journal: Path) -> None:
    """Everything handed over, and the gateway stopped in order; what is left is a problem."""

    def is_published() -> bool:
        waiting = gateway.get("/branches")["recording"]["waiting"]
        return bool(waiting and waiting["chunks"] == 0) and not any(journal.glob("*/*.jsonl"))

    begun = time.monotonic()
    try:
        gateway.until(is_published, "all rows are in git", _PUBLISHED_SECONDS)
        found.published_after = time.monotonic() - begun
        if dropped := dropped_rows(gateway.port):
            found.problems.append(f"{dropped:.0f} rows were answered and not recorded")
    except (DidNotLand, OSError) as error:
        found.problems.append(str(error))
    tree = gateway.tree
    if (code := gateway.end()) != 0:
        found.problems.append(f"the gateway ended with exit code {code}: {tree.words()}")
    end = time.monotonic() + _CHILDREN_SECONDS
    while (left := tree.labels()) and time.monotonic() < end:
        time.sleep(0.1)
    if left:
        found.problems.append(f"processes outlived the gateway: {', '.join(left.values())}")
    if chunks := sorted(path.name for path in journal.glob("*/*")):
        found.problems.append(f"{len(chunks)} chunks were not published at the end: {chunks[:3]}")


def _judge(found: Soak, repository: Path, logs: Path) -> None:
    ledger = found.ledger
    for log in sorted(logs.glob("gateway*.log")):
        lines = log.read_text(errors="replace").splitlines()
        found.problems += defects(lines, found.deeds.done[Deed.KILL_MONITOR])
    written = Written(repository)
    found.segments = len(written.segments)
    found.monitoring_commits = written.commits.total()
    found.problems += written.problems
    found.findings = audit(written.rows(), ledger.outcomes, ledger.unanswered)
    found.failed = failures(ledger.outcomes, ledger.windows)
    found.trends = trends(found.samples)
    commits = Commits(repository)
    told = {(each.branch, each.commit) for each in ledger.outcomes if each.branch}
    found.problems += [
        f"{branch} answered as {commit}, which was never on it"
        for branch, commit in sorted(told)
        if branch not in WEIGHTS or not commits.was_on(branch, commit)
    ]
    if not found.findings.answered:
        found.problems.append("nothing was answered")
    refused = any(excuse is Excuse.OVERLOAD for excuse, _, _ in found.failed.excused)
    if not refused and not found.findings.fallbacks[FALLBACK_OVERLOAD]:
        found.problems.append("no crowd was large enough: the bound of the queues was not reached")
