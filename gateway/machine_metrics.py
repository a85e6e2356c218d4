"""What a gateway takes of its machine, and the bounds that stand against it, as series.

Two pictures, each replaced as a whole: `Machine` is what `vitals` saw in /proc, `Standing` what the
front knows of itself. Nothing is kept between two scrapes, so a branch that was taken out leaves
no series behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.names import Branch


@dataclass(frozen=True, slots=True)
class Use:
    """What some processes take together."""

    resident: int
    #: Of the one with the most: what it may write to and is its own, which `memory` bounds.
    largest_own: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Machine:
    """One look at the processes and at the disk of `state_dir`."""

    #: By what they are: front, monitor, spares.
    processes: Mapping[str, Use]
    workers: Mapping[Branch, Use]
    open_files: int
    most_files: int
    disk_free: int
    disk_size: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What the front knows of itself when it is asked, and its bounds."""

    baseline: Branch
    is_ready: bool
    refuses_configuration: bool
    monitor_is_up: bool
    experiments_are_up: bool
    queue_rows: int
    journal_bytes: int
    flush: float
    #: When the oldest chunk that is not in git was last written to; None where there is none.
    oldest_chunk: float | None
    #: Bytes that all replicas may hold in Redis; None without Redis.
    shared_bytes: int | None = None
    #: Most memory of a worker, where it has a bound.
    memory: Mapping[Branch, int] = field(default_factory=dict)


_OF_STANDING: tuple[tuple[str, str, Callable[[Standing], float | None]], ...] = (
    ("ready", "1 while /readyz says so.", lambda said: said.is_ready),
    (
        "config_refused",
        "1 while gateway.yaml says something that is refused: what was in force before stays so.",
        lambda said: said.refuses_configuration,
    ),
    (
        "monitor_up",
        "1 while the monitor process runs: without it rows wait on disk.",
        lambda said: said.monitor_is_up,
    ),
    (
        "experiments_up",
        "1 while experiments are counted and guardrails are watched.",
        lambda said: said.experiments_are_up,
    ),
    (
        "queue_limit_rows",
        "Most rows that may wait for one branch.",
        lambda said: said.queue_rows,
    ),
    (
        "journal_limit_bytes",
        "Most bytes of the journal: beyond it rows are answered and not recorded.",
        lambda said: said.journal_bytes,
    ),
    (
        "flush_interval_seconds",
        "How often a chunk is closed and published.",
        lambda said: said.flush,
    ),
    (
        "oldest_chunk_age_seconds",
        "Age of the oldest sealed chunk that is not yet confirmed in git; 0 where there is none.",
        lambda said: (
            0.0 if said.oldest_chunk is None else max(0.0, time.time() - said.oldest_chunk)
        ),
    ),
    (
        "shared_limit_bytes",
        "Most bytes that all replicas together may hold in Redis.",
        lambda said: said.shared_bytes,
    ),
)

_OF_MACHINE: tuple[tuple[str, str, Callable[[Machine], float]], ...] = (
    ("open_files", "Files and connections the front holds open.", lambda seen: seen.open_files),
    (
        "open_files_limit",
        "Most files and connections the front may hold open.",
        lambda seen: seen.most_files,
    ),
    (
        "state_dir_free_bytes",
        "Room on the file system of state_dir for this user.",
        lambda seen: seen.disk_free,
    ),
    ("state_dir_size_bytes", "Size of that file system.", lambda seen: seen.disk_size),
)


class MachineMetrics(Collector):
    """A collector of its own: `shown` says which branches have series now."""

    def __init__(self, version: str, shown: Callable[[], Set[Branch]]) -> None:
        self._version = version
        self._shown = shown
        self._started = time.time()
        #: What was seen of the processes last.
        self.machine: Machine | None = None
        #: What the front says of itself, put here before each scrape.
        self.standing: Standing | None = None

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("gateway_build_info", "Which version runs.", labels=["version"])
        info.add_metric([self._version], 1)
        yield info
        yield GaugeMetricFamily(
            "gateway_start_timestamp_seconds",
            "When this front started, in Unix time.",
            value=self._started,
        )
        yield from self._of_standing()
        yield from self._of_processes()
        yield from self._of_workers()

    def _of_standing(self) -> Iterator[Metric]:
        said = self.standing
        for name, text, figure in _OF_STANDING:
            value = figure(said) if said is not None else None
            yield GaugeMetricFamily(f"gateway_{name}", text, value=value)
        baseline = GaugeMetricFamily(
            "gateway_branch_baseline",
            "1 for the baseline, which answers where others cannot; 0 for the others.",
            labels=["branch"],
        )
        memory = GaugeMetricFamily(
            "gateway_worker_memory_limit_bytes",
            "Most memory of its own that a worker of the branch may have; absent without a bound.",
            labels=["branch"],
        )
        if said is not None:
            for branch in sorted(self._shown()):
                baseline.add_metric([branch], branch == said.baseline)
                if branch in said.memory:
                    memory.add_metric([branch], said.memory[branch])
        yield baseline
        yield memory

    def _of_processes(self) -> Iterator[Metric]:
        seen = self.machine
        for name, text, figure in _OF_MACHINE:
            value = figure(seen) if seen is not None else None
            yield GaugeMetricFamily(f"gateway_{name}", text, value=value)
        resident = GaugeMetricFamily(
            "gateway_process_resident_bytes",
            "Memory of processes that are no branch's: front, monitor (where it is the front's"
            " child), spares.",
            labels=["process"],
        )
        spent = CounterMetricFamily(
            "gateway_process_cpu_seconds", "Processor time of the same.", labels=["process"]
        )
        for name, use in sorted(seen.processes.items()) if seen is not None else ():
            resident.add_metric([name], use.resident)
            spent.add_metric([name], use.cpu_seconds)
        yield resident
        yield spent

    def _of_workers(self) -> Iterator[Metric]:
        resident = GaugeMetricFamily(
            "gateway_worker_resident_bytes",
            "Memory of the branch's workers together.",
            labels=["branch"],
        )
        own = GaugeMetricFamily(
            "gateway_worker_memory_bytes",
            "Memory of its own of the branch's largest worker: what its bound is about.",
            labels=["branch"],
        )
        spent = CounterMetricFamily(
            "gateway_worker_cpu_seconds",
            "Processor time of the branch's workers, also of those that ended.",
            labels=["branch"],
        )
        workers = self.machine.workers if self.machine is not None else {}
        shown = self._shown()
        for branch, use in sorted(workers.items()):
            if branch in shown:
                resident.add_metric([branch], use.resident)
                own.add_metric([branch], use.largest_own)
                spent.add_metric([branch], use.cpu_seconds)
        yield resident
        yield own
        yield spent
