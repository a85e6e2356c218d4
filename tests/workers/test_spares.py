"""Spares: a reload takes one and is quick, and nobody can tell that it did."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from waiting import wait_until, wait_until_async
from workers.fleets import DEV, PROD, UNCONTAINED, World, alive, running, serving_code, snapshot

from gateway.config.sections import BranchConfig, LimitsConfig, Privacy
from gateway.names import Branch
from gateway.workers.launch import Launch, environment

Files = dict[str, str | bytes]

ANSWERS = """
def predict(model, rows):
    return [{0} for _ in rows]
"""


def code(source: str, answer: str, **files: str) -> Files:
    """A branch whose serve.py runs `source` and answers `answer`; `files` are beside it."""
    beside = {f"src/{name}.py": content for name, content in files.items()}
    return {"src/serve.py": source + ANSWERS.format(answer), **beside}


def told(folder: Path, story: Callable[[World], Awaitable[None]], **fleet: Any) -> None:
    async def whole() -> None:
        async with running(folder, **{"spare_workers": 1, **fleet}) as world:
            await story(world)

    asyncio.run(whole())


async def spare_of(world: World) -> int:
    """The pid of the spare, once it is ready."""

    def ready() -> int:
        world.state()
        return next((s["pid"] for s in world.fleet.spares.status if s["state"] == "ready"), 0)

    await wait_until_async(ready, describe=lambda: world.fleet.spares.status)
    return ready()


async def serves(world: World, files: Files, branch: Branch = PROD) -> int:
    """Offer the content and wait until it serves; its worker's pid."""
    state = await world.settled(snapshot(world.folder, files, branch))
    assert state["state"] == "ready", (state, world.logs)
    pid: int = state["workers"][0]["pid"]
    return pid


def test_a_reload_takes_the_spare_and_another_takes_its_place(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await serves(world, code("import statistics", "1"))
        first = await spare_of(world)
        assert await serves(world, code("import statistics", "2")) == first
        assert await world.ask([[0]]) == [2]
        second = await spare_of(world)
        assert second != first
        assert await serves(world, code("import statistics", "3")) == second

    told(tmp_path, story)


def test_what_a_spare_has_imported_is_not_imported_again(tmp_path: Path, library: Path) -> None:
    """What only this branch's code imports is imported ahead for it as well."""
    (library / "heavy.py").write_text("import os\nPID_AND_TIMES = [os.getpid()]\n")
    (library / "heavy.py").write_text(
        "import sys\nLOADING = any(name == 'serve' for name in sys.modules)\n"
    )

    async def story(world: World) -> None:
        await serves(world, code("import heavy", "heavy.LOADING"))
        assert await world.ask([[0]]) == [True]
        await spare_of(world)
        await serves(world, code("import heavy  # again", "heavy.LOADING"))
        assert await world.ask([[0]]) == [False]

    told(tmp_path, story, launch=with_library(library))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder of packages that every worker of a test finds."""
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


def with_library(folder: Path) -> Launch:
    return Launch(environment={**environment(), "PYTHONPATH": str(folder)}, grace=2.0)


LOOKS = """
import logging, os, random, sys, threading, warnings
import statistics
os.umask(mask := os.umask(0))
def told(path, default=""):
    try:
        return open(path).read().strip().rpartition("nice")[2]
    except OSError:
        return default
SEEN = {
    "modules": sorted(name for name in sys.modules if not name.startswith("_gateway_runner.")),
    "path": [p for p in sys.path if "/src" not in p],
    "first": sys.path[0].endswith("/src"),
    "environment": {k: v for k, v in os.environ.items() if k not in ("HOME", "TMPDIR")},
    "folder": os.getcwd(),
    "umask": mask,
    "hash": hash("seeded"),
    "threads": threading.active_count(),
    "kernel threads": len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self") else 1,
    "nice": os.nice(0),
    "group": told("/proc/self/autogroup"),
    "killed": told("/proc/self/oom_score_adj"),
    "filters": repr(warnings.filters),
    "loggers": [type(h).__name__ for h in logging.getLogger().handlers],
    "level": logging.getLogger().level,
    "finders": [getattr(f, "__name__", type(f).__name__) for f in sys.meta_path],
    "bytecode": sys.dont_write_bytecode,
    "signals": [str(__import__("signal").getsignal(n)) for n in range(1, 20)],
    "descriptors": len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self") else 0,
}
"""


def test_a_branchs_code_sees_no_difference(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await serves(world, code(LOOKS, "SEEN"))
        cold = (await world.ask([[0]]))[0]
        spare = await spare_of(world)
        assert await serves(world, code(LOOKS + "# again", "SEEN")) == spare
        warm = (await world.ask([[0]]))[0]
        assert warm == cold

    told(tmp_path, story)


def test_a_pickled_pipeline_answers_the_same_from_a_spare(tmp_path: Path) -> None:
    rows = np.random.default_rng(7).normal(size=(200, 3))
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=C)).fit(rows, rows.sum(axis=1) > 0)
        for C in (1.0, 0.1)
    ]

    async def story(world: World) -> None:
        for model in models:
            spare = await spare_of(world) if model is models[1] else None
            pid = await serves(world, {"models/model.pkl": pickle.dumps(model)})
            assert spare in (None, pid)
            answer = await world.submit(rows[:20].tolist())
            assert json.loads(answer.probabilities) == model.predict_proba(rows[:20]).tolist()

    told(tmp_path, story)


OWN = {
    "a module": ({"src/statistics.py": "mean = lambda values: 'own'"}, ""),
    "a package": ({"src/statistics/__init__.py": "mean = lambda values: 'own'"}, ""),
    "a folder put first on the path": (
        {"vendor/statistics.py": "mean = lambda values: 'own'"},
        "import sys\nsys.path.insert(0, __file__.replace('src/serve.py', 'vendor'))\n",
    ),
}


@pytest.mark.parametrize("way", OWN)
def test_a_branch_gets_its_own_module_where_a_spare_has_another(tmp_path: Path, way: str) -> None:
    files, before = OWN[way]

    async def story(world: World) -> None:
        answer = "statistics.mean([1, 3])"
        await serves(world, code("import statistics", answer))
        assert await world.ask([[0]]) == [2]
        spare = await spare_of(world)
        changed = {**code(f"{before}import statistics", answer), **files}
        assert await serves(world, changed) != spare
        assert await world.ask([[0]]) == ["own"]

    told(tmp_path, story)


def test_a_library_finds_a_branchs_module_that_is_installed_nowhere(
    tmp_path: Path, library: Path
) -> None:
    (library / "optional.py").write_text(
        "try:\n    import not_installed\nexcept ImportError:\n    not_installed = None\n"
    )

    async def story(world: World) -> None:
        answer = "optional.not_installed is not None"
        await serves(world, code("import optional", answer))
        assert await world.ask([[0]]) == [False]
        await spare_of(world)
        await serves(world, code("import optional", answer, not_installed=""))
        assert await world.ask([[0]]) == [True]

    told(tmp_path, story, launch=with_library(library))


def test_a_library_sees_the_variables_that_a_branch_sets_before_it(
    tmp_path: Path, library: Path
) -> None:
    """Also from then on: no spare is tried in vain for such a branch, until it sets none."""
    (library / "tuned.py").write_text("import os\nSEEN = os.environ.get('TUNED')\n")
    setting = "import os\nos.environ['TUNED'] = 'by the branch'\nimport tuned"

    async def story(world: World) -> None:
        await serves(world, code("import tuned", "tuned.SEEN"))
        assert await world.ask([[0]]) == [None]
        spare = await spare_of(world)
        assert await serves(world, code(setting, "tuned.SEEN")) != spare
        assert await world.ask([[0]]) == ["by the branch"]
        await wait_until_async(
            lambda: (
                [s["modules"] for s in world.fleet.spares.status if s["state"] == "ready"] == [0]
            ),
            describe=lambda: world.fleet.spares.status,
        )
        await serves(world, code("import tuned # again", "tuned.SEEN"))
        assert await world.ask([[0]]) == [None]
        spare = await spare_of(world)
        assert await serves(world, code("import tuned # and again", "tuned.SEEN")) == spare

    told(tmp_path, story, launch=with_library(library))


def test_variables_that_libraries_set_cost_no_branch_its_spare(
    tmp_path: Path, library: Path
) -> None:
    (library / "sets.py").write_text("import os\nos.environ['SETS'] = 'a library'\n")

    async def story(world: World) -> None:
        await serves(world, code("import sets", "1"))
        spare = await spare_of(world)
        assert [spare["modules"] for spare in world.fleet.spares.status] != [0]
        assert await serves(world, code("import sets", "2")) == spare

    told(tmp_path, story, launch=with_library(library))


def test_a_branch_finds_what_was_installed_since(tmp_path: Path, library: Path) -> None:
    (library / "upgraded.py").write_text("VERSION = 1\n")

    async def story(world: World) -> None:
        await serves(world, code("import upgraded", "upgraded.VERSION"))
        await spare_of(world)
        beside = library / "upgraded.new"
        beside.write_text("VERSION = 2  # and longer\n")
        beside.replace(library / "upgraded.py")
        await serves(world, code("import upgraded  # again", "upgraded.VERSION"))
        assert await world.ask([[0]]) == [2]

    told(tmp_path, story, launch=with_library(library))


def test_what_an_import_prints_and_warns_reaches_the_branch_that_gets_the_spare(
    tmp_path: Path, library: Path
) -> None:
    (library / "chatty.py").write_text(
        "import logging, warnings\nprint('printed')\nwarnings.warn('warned')\n"
        "logging.getLogger('chatty').error('logged')\n"
    )

    async def story(world: World) -> None:
        def heard() -> list[tuple[str, str]]:
            return sorted(
                (log[2], word)
                for log in world.logs
                for word in ("printed", "warned", "logged")
                if word in log[4]
            )

        await serves(world, code("import chatty", "1"))
        await wait_until_async(lambda: len(heard()) == 3, describe=lambda: world.logs)
        cold = heard()
        spare = await spare_of(world)
        assert heard() == cold
        assert await serves(world, code("import chatty", "2")) == spare
        await wait_until_async(lambda: len(heard()) == 6, describe=lambda: world.logs)
        assert heard() == sorted([*cold, *cold])

    told(tmp_path, story, launch=with_library(library))


def test_a_branch_is_spared_what_only_others_import(tmp_path: Path) -> None:
    knows = "'statistics' in __import__('sys').modules"

    async def story(world: World) -> None:
        await serves(world, code("import statistics", knows))
        await serves(
            world,
            code(
                "",
                knows,
            ),
            DEV,
        )
        spare = await spare_of(world)
        assert await serves(world, code("# again", knows), DEV) != spare
        assert await world.ask([[0]], DEV) == [False]
        assert await spare_of(world) == spare

    told(tmp_path, story, branches={PROD: BranchConfig(), DEV: BranchConfig()})


def test_a_module_that_cannot_be_imported_ahead_is_left_out(tmp_path: Path, library: Path) -> None:
    (library / "main_only.py").write_text(
        "import signal\nsignal.signal(signal.SIGUSR1, signal.SIG_DFL)\nimport statistics\n"
    )

    async def story(world: World) -> None:
        await serves(world, code("import main_only", "1"))
        spare = await spare_of(world)
        assert await serves(world, code("import main_only", "2")) == spare
        assert await world.ask([[0]]) == [2]

    told(tmp_path, story, launch=with_library(library))


def test_a_spare_that_is_killed_is_replaced_and_never_taken(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await serves(world, code("import statistics", "1"))
        for turn in range(2, 5):
            spare = await spare_of(world)
            os.kill(spare, signal.SIGKILL)
            # At once, while the front may not know yet.
            assert await serves(world, code("import statistics", str(turn))) != spare
            assert await world.ask([[0]]) == [turn]
        assert await spare_of(world)
        assert not [decision for decision in world.decisions if decision[2] == "quarantined"]
        assert world.exits("not_started") == 0

    told(tmp_path, story)


FAILS_ONCE = """
from pathlib import Path
import statistics
marker = Path({marker!r})
if marker.exists():
    marker.unlink()
    {failure}
"""


@pytest.mark.parametrize("failure", ["raise OSError('busy')", "import os; os._exit(4)"])
def test_the_verdict_on_a_commit_is_not_a_spares(tmp_path: Path, failure: str) -> None:
    marker = tmp_path / "marker"
    source = FAILS_ONCE.format(marker=str(marker), failure=failure)

    async def story(world: World) -> None:
        await serves(world, code(source, "1"))
        spare = await spare_of(world)
        marker.touch()
        assert await serves(world, code(source, "2")) != spare
        assert not marker.exists()
        assert [decision[2] for decision in world.decisions] == ["serving", "serving"]

    told(tmp_path, story, launch=UNCONTAINED)


def test_what_cannot_load_is_quarantined_once_and_the_old_goes_on(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await serves(world, code("import statistics", "1"))
        await spare_of(world)
        broken = serving_code(world.folder, "import statistics\nraise ValueError('broken')")
        state = await world.settled(broken)
        assert "broken" in state["reason"]
        assert [decision[2] for decision in world.decisions] == ["serving", "quarantined"]
        assert await world.ask([[0]]) == [1]

    told(tmp_path, story)


def test_there_are_as_many_spares_as_wanted(tmp_path: Path) -> None:
    async def count(world: World, wanted: int) -> None:
        def ready() -> bool:
            status = world.fleet.spares.status
            world.pids.update(spare["pid"] for spare in status if spare["pid"])
            gauge = world.metrics.registry.get_sample_value("gateway_spare_workers")
            return [s["state"] for s in status] == ["ready"] * wanted and gauge == wanted

        await wait_until_async(ready, describe=lambda: world.fleet.spares.status)

    async def story(world: World) -> None:
        spares = world.fleet.spares
        await serves(world, code("import statistics", "1"))
        await count(world, 2)
        spares.want(0)
        gone = set(world.pids)
        await count(world, 0)
        serving = {worker["pid"] for worker in world.state()["workers"]}
        await wait_until_async(lambda: not any(map(alive, gone - serving)))
        await serves(world, code("import statistics", "2"))
        spares.want(1)
        await count(world, 1)
        await world.fleet.configure({}, LimitsConfig(), Privacy())
        await count(world, 0)

    told(tmp_path, story, spare_workers=2)


def test_workers_of_another_interpreter_have_spares_of_their_own(tmp_path: Path) -> None:
    """A spare of one environment is nothing to a branch of another."""

    async def story(world: World) -> None:
        await serves(world, code("import statistics", "1"))
        await spare_of(world)
        spares = world.fleet.spares
        here = Launch(grace=2.0)
        there = replace(here, environment={**environment(), "ELSEWHERE": "1"})
        assert spares.take(PROD, there) is None
        spares.learn(DEV, there, ["statistics"])
        await wait_until_async(
            lambda: [s["state"] for s in spares.status] == ["ready", "ready"],
            describe=lambda: spares.status,
        )
        world.state()
        taken = spares.take(DEV, there)
        assert taken is not None
        assert taken.launch == there
        taken.worker.kill()
        await taken.worker.stop()

    told(tmp_path, story)


FRONT = """
import asyncio, sys
from pathlib import Path
from workers.fleets import World, serving_code

async def story():
    folder = Path(sys.argv[1])
    world = World(folder, spare_workers=1)
    running = asyncio.ensure_future(world.fleet.run())
    source = "import statistics\\ndef predict(m, rows): return rows"
    await world.settled(serving_code(folder, source))
    while not any(spare["state"] == "ready" for spare in world.fleet.spares.status):
        await asyncio.sleep(0.02)
    print(world.fleet.spares.status[0]["pid"], flush=True)
    await running

asyncio.run(story())
"""


def test_a_kill_of_the_front_leaves_no_spare_behind(tmp_path: Path) -> None:
    tests, house = Path(__file__).parents[1], Path(__file__).parents[2]
    front = subprocess.Popen(
        [sys.executable, "-c", FRONT, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": f"{tests}:{house}"},
    )
    with front:
        assert front.stdout is not None
        pid = int(front.stdout.readline())
        assert alive(pid)
        front.kill()
    wait_until(lambda: not alive(pid))
