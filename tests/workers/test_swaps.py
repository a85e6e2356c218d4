"""From one move to the next: load beside, probe, swap, drain, retire; and what refuses to."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop
from waiting import wait_until, wait_until_async
from workers.fleets import (
    DEV,
    PROD,
    QUICK,
    alive,
    commit_of,
    constant,
    running,
    serving_code,
    sin,
    snapshot,
)

from gateway.config.sections import BranchConfig, LimitsConfig, Privacy
from gateway.errors import NotReady
from gateway.workers.launch import Interpreter, Launch


def test_a_swap_under_a_stream_of_jobs_fails_none_of_them(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            moves = [constant(tmp_path, value) for value in range(3)]
            await world.settled(moves[0])
            stop = asyncio.Event()
            answers: list[tuple[object, str]] = []

            async def user() -> None:
                while not stop.is_set():
                    answer = await world.submit([[0]])
                    answers.append((json.loads(answer.predictions), answer.serving.commit))

            users = [asyncio.ensure_future(user()) for _ in range(8)]
            for move in moves[1:]:
                await world.settled(move)
                seen = len(answers)
                await wait_until_async(lambda seen=seen: len(answers) > seen + 100)  # type: ignore[misc]
            stop.set()
            await asyncio.gather(*users)
            allowed = {(f"[{value}]", move.commit) for value, move in enumerate(moves)}
            assert {(json.dumps(value), commit) for value, commit in answers} == allowed

    asyncio.run(story())


def test_uvloop_serves_swaps_and_restarts_alike(tmp_path: Path) -> None:
    """The front runs on it, and its transports and processes are its own."""

    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(constant(tmp_path, 1))
            futures = [world.submit([[0]]) for _ in range(50)]
            assert {a.predictions for a in await asyncio.gather(*futures)} == {b"[1]"}
            os.kill(world.state()["workers"][0]["pid"], signal.SIGKILL)
            await wait_until_async(lambda: world.exits("died") == 1)
            await wait_until_async(lambda: world.slot().ready)
            await world.settled(constant(tmp_path, "x" * 1_000_000))
            assert await world.ask([[0]]) == ["x" * 1_000_000]
            state = await world.settled(serving_code(tmp_path, sin("dies_on_import")))
            assert "exited with code 4" in state["reason"]

    uvloop.run(story())


def test_the_old_worker_finishes_its_frame_then_goes_with_its_lease(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            old = serving_code(tmp_path, sin("sleeps"))
            await world.settled(old)
            pid = world.state()["workers"][0]["pid"]
            gate = tmp_path / "gate"
            inside = world.submit([[str(gate)]])
            await wait_until_async(gate.with_suffix(".begun").exists)
            new = constant(tmp_path, 5)
            await world.settled(new)
            assert await world.ask([[0]]) == [5]
            states = [worker["state"] for worker in world.state()["workers"]]
            assert sorted(states) == ["draining", "idle"]
            assert world.leases.now == {old.fingerprint, new.fingerprint}
            gate.touch()
            assert (await inside).serving.commit == old.commit
            await wait_until_async(lambda: world.leases.now == {new.fingerprint})
            assert not alive(pid)
            assert world.exits("retired") == 1

    asyncio.run(story())


def test_what_cannot_load_leaves_the_old_one_serving_and_is_said_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            good, bad = constant(tmp_path, 1), serving_code(tmp_path, sin("exits_on_import"))
            await world.settled(good)
            state = await world.settled(bad)
            assert state["state"] == "ready"
            assert state["quarantined"] == bad.fingerprint
            assert await world.ask([[0]]) == [1]
            world.fleet.offer(bad)  # again, and with a quiet commit on top
            world.fleet.offer(replace(bad, tip=commit_of("quiet")))
            assert not world.state()["loading"]
            said = [decision[2] for decision in world.decisions]
            assert said == ["serving", "quarantined"]
            assert world.decisions[1][4]["still_serving"] == good.commit

    asyncio.run(story())


def test_a_revert_to_what_still_serves_ends_the_quarantine_without_a_load(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            good = constant(tmp_path, 1)
            await world.settled(good)
            pid = world.state()["workers"][0]["pid"]
            await world.settled(serving_code(tmp_path, sin("exits_on_import")))
            world.fleet.offer(replace(good, tip=commit_of("revert")))
            state = world.state()
            assert state["quarantined"] is None
            assert state["reason"] is None
            assert state["workers"][0]["pid"] == pid
            gauge = world.metrics.registry.get_sample_value
            assert gauge("gateway_branch_quarantined", {"branch": "prod"}) == 0

    asyncio.run(story())


def test_a_quiet_move_changes_the_commit_and_not_the_worker(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            move = constant(tmp_path, 1)
            await world.settled(move)
            pid = world.state()["workers"][0]["pid"]
            older = commit_of("found by deepening")
            world.fleet.offer(replace(move, commit=older))
            assert (await world.submit([[0]])).serving.commit == older
            assert world.state()["workers"][0]["pid"] == pid
            assert [decision[2] for decision in world.decisions] == ["serving"]

    asyncio.run(story())


def test_a_swap_waits_for_the_commit_that_answers_are_to_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, patience=replace(QUICK, naming=60.0)) as world:
            await world.settled(constant(tmp_path, 1))
            move = replace(constant(tmp_path, 2), settling=True)
            world.fleet.offer(move)
            loads = "gateway_load_duration_seconds_count"
            await wait_until_async(
                lambda: world.metrics.registry.get_sample_value(loads, {"branch": "prod"}) == 2
            )
            assert await world.ask([[0]]) == [1]
            named = replace(move, commit=commit_of("older"), commit_known=True, settling=False)
            state = await world.settled(named)
            assert state["serving"]["commit"] == named.commit
            assert [decision[1] for decision in world.decisions][1:] == [named.commit]
            assert await world.ask([[0]]) == [2]

    asyncio.run(story())


def test_a_swap_does_not_wait_for_ever_for_a_commits_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, patience=replace(QUICK, naming=0.05)) as world:
            move = replace(constant(tmp_path, 1), settling=True)
            assert (await world.settled(move))["serving"]["commit"] == move.tip

    asyncio.run(story())


def test_a_restart_of_the_gateway_decides_nothing_anew(tmp_path: Path) -> None:
    async def story() -> None:
        move = constant(tmp_path, 1)
        async with running(tmp_path, known={PROD: move.fingerprint}) as world:
            await world.settled(move)
            assert world.decisions == []
            await world.settled(constant(tmp_path, 2))
            assert [decision[2] for decision in world.decisions] == ["serving"]

    asyncio.run(story())


def test_a_newer_move_takes_the_place_of_one_that_is_loading(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            hanging = serving_code(tmp_path, sin("hangs_on_import"))
            world.fleet.offer(hanging)
            await wait_until_async(lambda: hanging.fingerprint in world.leases.now)
            newer = constant(tmp_path, 2)
            await world.settled(newer)
            assert await world.ask([[0]]) == [2]
            assert world.leases.now == {newer.fingerprint}

    asyncio.run(story())


def test_a_branch_that_hangs_does_not_disturb_another(tmp_path: Path) -> None:
    async def story() -> None:
        branches = {PROD: BranchConfig(), DEV: BranchConfig()}
        async with running(tmp_path, branches=branches) as world:
            world.fleet.offer(serving_code(tmp_path, sin("hangs_on_import"), DEV))
            await world.settled(constant(tmp_path, 1))
            assert await world.ask([[0]]) == [1]
            assert world.state(DEV)["state"] == "loading"
            with pytest.raises(NotReady):
                world.submit([[0]], DEV)

    asyncio.run(story())


def test_what_the_machine_cannot_start_is_tried_again_and_not_quarantined(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        python = tmp_path / "python"
        async with running(tmp_path, launch=Launch(Interpreter(str(python)))) as world:
            world.fleet.offer(constant(tmp_path, 1))
            await wait_until_async(lambda: world.exits("not_started") >= 2)
            assert world.state()["quarantined"] is None
            assert "could not start" in world.state()["reason"]
            python.symlink_to(sys.executable)
            await wait_until_async(lambda: world.slot().ready)
            assert world.state()["reason"] is None
            assert [log[2] for log in world.logs] == ["error"]

    asyncio.run(story())


def test_a_killed_worker_is_back_before_long(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(constant(tmp_path, 1))
            pid = world.state()["workers"][0]["pid"]
            os.kill(pid, signal.SIGKILL)
            await wait_until_async(lambda: world.exits("died") == 1)
            await wait_until_async(lambda: world.slot().ready)
            assert await world.ask([[0]]) == [1]
            assert any("was killed by SIGKILL" in log[4] for log in world.logs)

    asyncio.run(story())


def _hesitates(folder: Path, then: str) -> str:
    """Code that loads at once in one worker of all; what the others do `then` is Python."""
    return (
        "import os, pathlib, time\n"
        f"HERE = pathlib.Path({str(folder)!r})\n"
        "def load(root):\n"
        "    (HERE / f'begun-{os.getpid()}').touch()\n"
        "    try: (HERE / 'first').touch(exist_ok=False)\n"
        f"    except FileExistsError: {then}\n"
        "ROW_WISE = True\n"
        "def predict(model, rows): return ['late' for _ in rows]\n"
    )


#: A file ends it, so that the test says when; a worker has nothing else to hear it by.
_WAITS = "[time.sleep(0.01) for _ in iter((HERE / 'gate').exists, True)]"


def _begun(folder: Path) -> int:
    return len(list(folder.glob("begun-*")))


def test_where_nobody_answers_the_first_worker_does_and_the_others_join_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, branches={PROD: BranchConfig(workers=3)}) as world:
            await world.settled(serving_code(tmp_path, _hesitates(tmp_path, _WAITS)))
            assert await world.ask([[0]]) == ["late"]
            await wait_until_async(lambda: _begun(tmp_path) == 3)
            assert len(world.state()["workers"]) == 1
            (tmp_path / "gate").touch()
            await world.joined(3)
            assert world.state()["reason"] is None

    asyncio.run(story())


def test_where_somebody_answers_all_workers_are_loaded_before_they_do(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, branches={PROD: BranchConfig(workers=3)}) as world:
            await world.settled(constant(tmp_path, "early"))
            loading = asyncio.ensure_future(
                world.settled(serving_code(tmp_path, _hesitates(tmp_path, _WAITS)))
            )
            await wait_until_async(lambda: _begun(tmp_path) == 3)
            assert await world.ask([[0]]) == ["early"]
            (tmp_path / "gate").touch()
            assert len((await loading)["workers"]) == 3
            assert await world.ask([[0]]) == ["late"]

    asyncio.run(story())


def test_a_worker_that_cannot_join_is_tried_ever_later_though_others_answer(tmp_path: Path) -> None:
    async def story() -> None:
        patience = replace(QUICK, first_wait=600.0, longest_wait=600.0)
        branches = {PROD: BranchConfig(workers=2)}
        async with running(tmp_path, branches=branches, patience=patience) as world:
            fails = "raise RuntimeError('one is enough')"
            await world.settled(serving_code(tmp_path, _hesitates(tmp_path, fails)))

            async def user() -> None:
                while True:
                    assert await world.ask([[0]]) == ["late"]

            asking = asyncio.ensure_future(user())
            soon = asyncio.get_running_loop().time() + 300
            await wait_until_async(lambda: world.slot().expected > soon, describe=world.state)
            assert not asking.done()
            asking.cancel()
            assert _begun(tmp_path) == 3
            reason = world.state()["reason"]
            assert reason == "one more worker could not be started: RuntimeError: one is enough"

    asyncio.run(story())


def test_branches_are_added_changed_and_removed(tmp_path: Path) -> None:
    async def story() -> None:
        limits = LimitsConfig()
        async with running(tmp_path) as world:
            move = constant(tmp_path, 1)
            await world.settled(move)
            pid = world.state()["workers"][0]["pid"]
            both = {PROD: BranchConfig(), DEV: BranchConfig()}
            await world.fleet.configure(both, limits, Privacy())
            await world.settled(constant(tmp_path, 2, DEV))
            assert world.state()["workers"][0]["pid"] == pid  # nothing of it changed

            await world.fleet.configure({PROD: BranchConfig(workers=2)}, limits, Privacy())
            with pytest.raises(KeyError):
                world.slot(DEV)
            await wait_until_async(lambda: len(world.state()["workers"]) == 2)
            await wait_until_async(lambda: world.leases.held[move.fingerprint] == 1)
            assert not alive(pid)
            assert await world.ask([[0]]) == [1]
            assert [decision[2] for decision in world.decisions] == ["serving"] * 2

    asyncio.run(story())


def test_a_changed_model_path_loads_the_other_file(tmp_path: Path) -> None:
    async def story() -> None:
        code = "def predict(model, rows): return [model for _ in rows]\n"
        files: dict[str, str | bytes] = {
            "src/serve.py": code,
            "models/a.pkl": pickle.dumps("a"),
            "models/b.pkl": pickle.dumps("b"),
        }
        async with running(tmp_path) as world:
            state = await world.settled(snapshot(tmp_path, files))
            assert state["state"] == "failed"
            assert "models/a.pkl, models/b.pkl" in state["reason"]
            assert "`model:`" in state["reason"]
            branches = {PROD: BranchConfig(model="models/b.pkl")}
            await world.fleet.configure(branches, LimitsConfig(), Privacy())
            # The watcher finds another fingerprint under the other setting, and says so.
            world.fleet.offer(snapshot(tmp_path, {**files, "metrics/model.json": "{}"}))
            await wait_until_async(lambda: world.slot().ready)
            assert await world.ask([[0]]) == ["b"]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"README.md": "x"}, "nothing to serve"),
        ({"models/m.pkl": b"\x80\x04."}, "models/m.pkl cannot be unpickled"),
        ({"models/m.pkl": b"cno_such_place\nThing\n."}, "needs the module 'no_such_place'"),
        ({"src/serve.py": "predict = 3"}, "predict must be a function. Given: int"),
        ({"src/serve.py": "def load(root): return 3"}, "a int without predict"),
    ],
)
def test_a_snapshot_that_holds_nothing_servable_says_what_would_be_right(
    tmp_path: Path, files: dict[str, str | bytes], words: str
) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            state = await world.settled(snapshot(tmp_path, files))
            assert state["state"] == "failed"
            assert words in state["reason"]

    asyncio.run(story())


FRONT = """
import asyncio, sys
from pathlib import Path
from workers.fleets import World, serving_code, sin

async def story():
    folder = Path(sys.argv[1])
    world = World(folder)
    await world.settled(serving_code(folder, sin("sleeps")))
    world.submit([[str(folder / "never")]])
    print(world.state()["workers"][0]["pid"], flush=True)
    await asyncio.get_running_loop().create_future()

asyncio.run(story())
"""


def test_a_kill_of_the_front_leaves_no_worker_behind(tmp_path: Path) -> None:
    """Not even one that computes and will not look at its channel for long."""
    tests, house = Path(__file__).parents[1], Path(__file__).parents[2]
    front = subprocess.Popen(
        [sys.executable, "-c", FRONT, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": f"{tests}:{house}"},
    )
    with front:
        assert front.stdout is not None
        pid = int(front.stdout.readline())
        wait_until((tmp_path / "never.begun").exists)
        assert alive(pid)
        front.kill()
    wait_until(lambda: not alive(pid))
