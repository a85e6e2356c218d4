"""The race: servers in their places, settings tried, then rounds, one server loaded at a time."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from loadtests.bench import extras, wrk
from loadtests.bench.arithmetic import BUSY, best_setting
from loadtests.bench.lineup import BY_NAME, Server
from loadtests.bench.places import APPS, MODELS, Missing, Place, own_place, peer_place, run
from loadtests.bench.records import Alone, Idle, ProcessMemory, Results, Run, Trial
from loadtests.bench.running import NotStarted, Running, Wrong, running
from loadtests.bench.subject import dropped_rows

_WARM_SECONDS = 1
_IDLE_SECONDS = 3.0
_ALONE_SECONDS = 1.0
_COOL_SECONDS = 0.3


class OutOfTime(Exception):
    """The bound on the whole race is reached."""


class Race:
    """Runs a race and fills `results`; what cannot run is said there, and the others go on."""

    def __init__(
        self, results: Results, root: Path, deadline: float, say: Callable[[str], None]
    ) -> None:
        self.results = results
        self._options = results.options
        self._root = root
        self._deadline = deadline
        self._say = say
        self._places: dict[str, Place] = {}
        #: By model and server: the settings that race, for one connection and for more.
        self._chosen: dict[tuple[str, str], tuple[str, str]] = {}

    def run(self) -> None:
        """OutOfTime where the bound is reached; the results so far stand."""
        self._prepare()
        for model in self._options.models:
            self._say(f"{MODELS[model]}")
            self._choose(model)
            self._rounds(model)

    def _servers(self) -> list[Server]:
        return [BY_NAME[name] for name in self._options.servers if name in self._places]

    def _prepare(self) -> None:
        self._own = own_place(self._root)
        for name in self._options.servers:
            server = BY_NAME[name]
            try:
                if server.missing is not None:
                    raise Missing(server.missing)
                if server.peer:
                    self._say(f"environment of {name} ...")
                place = peer_place(self._root, name) if server.peer else self._own
                self.results.versions[name] = place.versions(server.distributions)
            except Missing as error:
                self._miss(server, str(error))
                continue
            self._places[name] = place

    def _miss(self, server: Server, reason: str) -> None:
        self._say(f"  {server.name} is missing: {reason}")
        self.results.missing[server.name] = reason

    def _problem(self, text: str) -> None:
        self._say(f"  PROBLEM {text}")
        self.results.problems.append(text)

    def _scratch(self, server: Server, setting: str) -> Path:
        number = server.settings.index(setting)
        return self._root / "run" / f"{server.name}-{number}"

    def _start(self, stack: ExitStack, server: Server, setting: str, model: str) -> Running | None:
        """A running server, warm; or None with the problem noted."""
        self._check_time()
        place, scratch = self._places[server.name], self._scratch(server, setting)
        where = f"{model}: {server.name} ({setting})"
        try:
            found = stack.enter_context(running(server, setting, place, model, scratch))
            found.load(8, _WARM_SECONDS)
        except (NotStarted, Missing) as error:
            self._problem(f"{where} did not start: {error}")
        except Wrong as error:
            self._problem(f"{where} answered wrongly: {error}")
        except wrk.LoadFailed as error:
            self._problem(f"{where}: {error}")
        else:
            return found
        return None

    # Settings

    def _choose(self, model: str) -> None:
        """The fastest setting of each server, for one connection and for more."""
        for server in self._servers():
            settings = server.settings[:1] if self._options.quick else server.settings
            if len(settings) == 1:
                self._chosen[model, server.name] = (settings[0], settings[0])
                continue
            trials = [trial for setting in settings for trial in self._try(server, setting, model)]
            self.results.trials += trials
            single, busy = best_setting(trials, 1), best_setting(trials, BUSY)
            if single is None or busy is None:
                self._problem(f"{model}: {server.name} answered with none of its settings")
                continue
            self._chosen[model, server.name] = (single, busy)

    def _try(self, server: Server, setting: str, model: str) -> Iterator[Trial]:
        with ExitStack() as stack:
            found = self._start(stack, server, setting, model)
            if found is None:
                return
            for connections in (1, BUSY):
                self._check_time()
                try:
                    load, _ = found.load(connections, self._options.tried_seconds)
                except wrk.LoadFailed as error:
                    self._problem(f"{model}: {server.name} ({setting}): {error}")
                    continue
                text = f"  tried {server.name} ({setting}) at {connections}: {load.rate:,.0f}/s"
                self._say(text + (f", {load.errors} errors" if load.errors else ""))
                if not load.errors:
                    yield Trial(model, server.name, setting, connections, load.rate, load.p99)

    # Rounds

    def _racers(self, model: str) -> list[tuple[Server, str, list[int]]]:
        """Each server and setting that races, with the connections that it races at."""
        found = []
        for server in self._servers():
            if (model, server.name) not in self._chosen:
                continue
            by_setting: dict[str, list[int]] = {}
            single, busy = self._chosen[model, server.name]
            for connections in self._options.connections:
                by_setting.setdefault(single if connections == 1 else busy, []).append(connections)
            found += [(server, setting, loads) for setting, loads in by_setting.items()]
        return found

    def _rounds(self, model: str) -> None:
        racers = self._racers(model)
        with ExitStack() as stack:
            ready: list[tuple[Running, list[int]]] = []
            for server, setting, loads in racers:
                found = self._start(stack, server, setting, model) if server.resident else None
                if found is not None:
                    ready.append((found, loads))
            for found, _ in ready:
                self._idle(found, model)
            for turn in range(self._options.rounds):
                self._say(f" round {turn + 1} of {self._options.rounds}")
                self._alone(model, turn)
                self._round(ready, model, turn)
                for server, setting, loads in racers:
                    if not server.resident:
                        self._visit(server, setting, model, loads, turn)
                self._extras(ready, model, turn)
            for found, _ in ready:
                self._leave(found, model)

    def _round(self, ready: list[tuple[Running, list[int]]], model: str, turn: int) -> None:
        """All that are kept running, at each number of connections, one after the other."""
        # Another one begins each time, so that nobody always runs after the same other.
        first = turn % len(ready) if ready else 0
        for connections in self._options.connections:
            for found, loads in ready[first:] + ready[:first]:
                if connections in loads:
                    self._measure(found, model, connections, turn)

    def _visit(self, server: Server, setting: str, model: str, loads: list[int], turn: int) -> None:
        """One round of a server that is not kept running between its turns."""
        with ExitStack() as stack:
            found = self._start(stack, server, setting, model)
            if found is None:
                return
            if turn == 0:
                self._idle(found, model)
            for connections in loads:
                self._measure(found, model, connections, turn)
            if turn == self._options.rounds - 1:
                self._leave(found, model)

    def _measure(self, found: Running, model: str, connections: int, turn: int) -> None:
        self._check_time()
        time.sleep(_COOL_SECONDS)  # what the one before left behind is done
        name, seconds = found.server.name, self._options.seconds
        try:
            load, cpu = found.load(connections, seconds)
        except wrk.LoadFailed as error:
            self._problem(f"{model}: {name} at {connections}: {error}")
            return
        self._say(
            f"  {name} at {connections}: {load.rate:,.0f}/s, p50 {load.p50 * 1e3:.2f} ms,"
            f" p99 {load.p99 * 1e3:.2f} ms"
        )
        if load.errors:
            self._problem(f"{model}: {name} at {connections}: {load.errors} errors")
        figures = (load.rate, load.p50, load.p99, load.requests, load.errors, seconds, cpu)
        self.results.runs.append(Run(model, name, found.setting, connections, turn, *figures))

    def _idle(self, found: Running, model: str) -> None:
        self._check_time()
        cores = found.idle(0.5 if self._options.quick else _IDLE_SECONDS)
        self.results.idle.append(Idle(model, found.server.name, found.setting, round(cores, 4)))

    def _leave(self, found: Running, model: str) -> None:
        """Memory, right answers also after the loads, and nothing that was not recorded."""
        name = found.server.name
        self.results.memory += [
            ProcessMemory(model, name, found.setting, process, memory.peak, memory.share)
            for process, memory in found.memory()
        ]
        try:
            found.check()
        except Wrong as error:
            self._problem(f"{model}: {name} answered wrongly after its loads: {error}")
        if found.server.name in ("gateway", "accelerated"):
            dropped = dropped_rows(found.port)
            if dropped:
                self._problem(f"{model}: {name} did not record {dropped:.0f} rows")

    def _alone(self, model: str, turn: int) -> None:
        """The floor of the model: nothing but calls in a loop."""
        self._check_time()
        script = APPS / "model_alone.py"
        path = self._own.model(model)
        said = json.loads(
            run([self._own.python, script, path, str(_ALONE_SECONDS)], self._own.folder)
        )
        self.results.alone.append(Alone(model, turn, **said))

    def _extras(self, ready: list[tuple[Running, list[int]]], model: str, turn: int) -> None:
        """On the first model only: what it costs is the gateway's, not the model's."""
        if model != self._options.models[0]:
            return
        for found, _ in ready:
            if found.server.name in ("gateway", "accelerated"):
                self._check_time()
                scratch = self._scratch(found.server, found.setting)
                try:
                    measured, problems = extras.measure(
                        found, scratch, turn, self._options.seconds, self._say
                    )
                except wrk.LoadFailed as error:
                    self._problem(f"{model}: {found.server.name}: {error}")
                    continue
                self.results.extras += measured
                for text in problems:
                    self._problem(text)

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise OutOfTime


def clear(root: Path) -> None:
    """Forget what an earlier race left of its servers; environments and models stay."""
    shutil.rmtree(root / "run", ignore_errors=True)
