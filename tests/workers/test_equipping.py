"""A fleet whose branches bring environments: what serves meanwhile, and what comes of failures."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from waiting import wait_until_async
from wheelhouse import Index, Wheelhouse, indexed
from workers.fleets import PROD, constant, running, snapshot

from gateway.config.environments import EnvironmentsConfig
from gateway.config.sections import BranchConfig, LimitsConfig, Privacy
from gateway.environments.keeping import Environments
from gateway.repositories.move import Move

_ANSWERS = "import scorer\ndef predict(model, rows): return [scorer.NUMBER for _ in rows]\n"
_OWN = {PROD: BranchConfig(environment="branch")}


def asking(folder: Path, requirements: str) -> Move:
    files: dict[str, str | bytes] = {"src/serve.py": _ANSWERS, "requirements.txt": requirements}
    return snapshot(folder, files)


def environments(folder: Path, **settings: Any) -> Environments:
    config = EnvironmentsConfig.model_validate({"find_links": str(folder / "wheels"), **settings})
    kept = Environments(folder / "environments", config, {"UV_HTTP_RETRIES": "0"})
    kept.open()
    return kept


def held(kept: Environments) -> set[str]:
    return {str(key) for key, count in kept._kept._leased.items() if count}


def test_a_failed_build_is_quarantined_while_the_old_serves_and_a_setting_may_cure_it(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        wheels, kept = Wheelhouse(tmp_path / "wheels"), environments(tmp_path)
        first = asking(tmp_path, wheels.add("scorer", "1.0", "NUMBER = 1"))
        wheels.add("scorer", "2.0", "NUMBER = 2")
        async with running(tmp_path, branches=_OWN, environments=kept, spare_workers=1) as world:
            one = (await world.settled(first))["environment"]
            second = asking(tmp_path, "scorer==2.0")
            state = await world.settled(second)
            assert "uv says: error: In `--require-hashes` mode" in state["reason"]
            assert state["quarantined"] == second.fingerprint
            assert state["environment"] == one
            assert await world.ask([[0]]) == [1]
            assert any("--require-hashes" in log[4] for log in world.logs)
            kept.configure(
                EnvironmentsConfig.model_validate(
                    {"find_links": str(tmp_path / "wheels"), "hashes": False}
                )
            )
            await world.fleet.configure(_OWN, LimitsConfig(), Privacy())
            await wait_until_async(
                lambda: world.state()["quarantined"] is None, describe=lambda: world.state()
            )
            await wait_until_async(lambda: world.state()["environment"] != one)
            assert await world.ask([[0]]) == [2]
            # A spare would hold an environment that its branch may leave any time.
            assert world.fleet.spares._known.wishes() == []
            # The lease goes with the last worker that runs on it.
            await wait_until_async(lambda: held(kept) == {world.state()["environment"]["key"]})
        assert held(kept) == set()
        kept.close()

    asyncio.run(story())


def test_an_index_that_is_away_is_asked_again_and_nothing_is_held_against_the_commit(
    tmp_path: Path,
) -> None:
    async def story(index: Index) -> None:
        index.status = 503
        kept = environments(tmp_path, index=index.url, find_links=None)
        move = asking(tmp_path, index.wheels.add("scorer", "1.0", "NUMBER = 1"))
        async with running(tmp_path, branches=_OWN, environments=kept) as world:
            world.fleet.offer(move)
            await wait_until_async(lambda: "503" in (world.state()["reason"] or ""))
            assert world.state()["quarantined"] is None
            index.status = 200
            await wait_until_async(lambda: world.slot().ready, describe=lambda: world.state())
            assert world.state()["reason"] is None
            assert await world.ask([[0]]) == [1]
        kept.close()

    with indexed(Wheelhouse(tmp_path / "wheels")) as index:
        asyncio.run(story(index))


def test_a_build_is_seen_and_is_given_up_when_nobody_wants_it(
    tmp_path: Path, silent_index: str
) -> None:
    async def story() -> None:
        kept = environments(tmp_path, index=silent_index)
        async with running(tmp_path, branches=_OWN, environments=kept) as world:
            world.fleet.offer(asking(tmp_path, f"scorer==1.0 --hash=sha256:{'0' * 64}"))
            await wait_until_async(lambda: world.state()["building"])
            assert world.state()["state"] == "loading"
            await world.fleet.configure({PROD: BranchConfig()}, LimitsConfig(), Privacy())
            await world.settled(constant(tmp_path, 7))
            assert world.state()["building"] is False
            assert await world.ask([[0]]) == [7]
        await wait_until_async(lambda: {path.name for path in kept.folder.iterdir()} <= {".cache"})
        kept.close()

    asyncio.run(story())


def test_what_an_environment_runs_at_start_runs_in_no_worker_of_the_gateways(
    tmp_path: Path,
) -> None:
    """A .pth file runs when site-packages are opened, which is the runner's own act."""

    async def story() -> None:
        wheels, kept = Wheelhouse(tmp_path / "wheels"), environments(tmp_path)
        more = {"scorer.pth": "import sys; sys.opened = '_gateway_runner.life' in sys.modules\n"}
        line = wheels.add("scorer", "1.0", "import sys\nNUMBER = sys.opened", more)
        async with running(tmp_path, branches=_OWN, environments=kept) as world:
            await world.settled(asking(tmp_path, line))
            assert await world.ask([[0]]) == [True]
        kept.close()

    asyncio.run(story())


def test_without_a_lock_the_branch_is_told_what_would_be_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, branches=_OWN) as world:
            state = await world.settled(snapshot(tmp_path, {"src/serve.py": _ANSWERS}))
            assert "needs a uv.lock, pylock.toml or requirements.txt" in state["reason"]

    asyncio.run(story())


def test_python_itself_is_all_that_a_worker_needs(tmp_path: Path) -> None:
    async def story() -> None:
        kept = environments(tmp_path)
        code = (
            "import importlib.util as u, sys\n"
            "def predict(model, rows):\n"
            "    return [[n for n in ('numpy', 'sklearn', 'msgspec') if u.find_spec(n)]]\n"
        )
        files: dict[str, str | bytes] = {"src/serve.py": code, "requirements.txt": "# nothing\n"}
        async with running(tmp_path, branches=_OWN, environments=kept) as world:
            state = await world.settled(snapshot(tmp_path, files))
            assert state["environment"]["python"] == sys.version.split()[0]
            assert await world.ask([{"a": 1.5, "b": None}]) == [[]]
        kept.close()

    asyncio.run(story())


def test_a_worker_that_dies_is_replaced_in_the_same_environment(tmp_path: Path) -> None:
    async def story() -> None:
        wheels, kept = Wheelhouse(tmp_path / "wheels"), environments(tmp_path)
        move = asking(tmp_path, wheels.add("scorer", "1.0", "NUMBER = 1"))
        async with running(tmp_path, branches=_OWN, environments=kept) as world:
            await world.settled(move)
            os.kill(world.state()["workers"][0]["pid"], signal.SIGKILL)
            await wait_until_async(lambda: world.exits("died") == 1)
            await wait_until_async(lambda: world.slot().ready)
            assert await world.ask([[0]]) == [1]
        kept.close()

    asyncio.run(story())
