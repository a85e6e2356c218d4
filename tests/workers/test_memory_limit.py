"""A worker has the memory it is given: more is refused by name, and harms one request or commit."""

from __future__ import annotations

import asyncio
import errno
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until_async
from workers.fleets import DEV, PROD, constant, running, serving_code

from gateway.config.sections import BranchConfig, LimitsConfig, Privacy
from gateway.errors import ModelError
from gateway.workers.runner.memory import Limit

MIB = 1024**2
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems bound less of it")

#: Takes so many MiB for good while it is loaded.
LOADS = "HELD = bytearray({mib} * 1024 ** 2)\ndef predict(model, rows): return [1 for _ in rows]\n"
#: Takes as many MiB as the row says, for as long as it predicts.
PREDICTS = """
import resource
ROW_WISE = True
def predict(model, rows):
    held = [bytearray(row[0] * 1024 ** 2) for row in rows]
    return [resource.getrlimit(resource.RLIMIT_DATA) for _ in held]
"""


def having(memory: str | None) -> BranchConfig:
    return BranchConfig.model_validate({"memory": memory})


def branches(memory: str | None) -> dict[str, Any]:
    return {"branches": {PROD: having(memory)}}


def test_what_does_not_fit_while_loading_is_quarantined_and_the_limit_named(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, **branches("100MiB")) as world:
            await world.settled(constant(tmp_path, "old"))
            state = await world.settled(serving_code(tmp_path, LOADS.format(mib=200)))
            assert state["reason"] == (
                "a worker may have 100MiB of memory, by the branch's `memory` or "
                "limits.worker_memory: MemoryError"
            )
            assert world.decisions[-1][2] == "quarantined"
            assert "HELD = bytearray" in world.decisions[-1][4]["traceback"]
            assert world.exits("not_started") == 1
            assert await world.ask([[1]]) == ["old"]

    asyncio.run(story())


def test_a_larger_limit_is_tried_without_another_commit(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, **branches("100MiB")) as world:
            move = serving_code(tmp_path, LOADS.format(mib=200))
            assert (await world.settled(move))["state"] == "failed"
            more = {PROD: having("400MiB")}
            await world.fleet.configure(more, LimitsConfig(), Privacy())
            await wait_until_async(lambda: world.slot().ready, describe=world.state)
            assert await world.ask([[1]]) == [1]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("own", "operators"), [(None, "100MiB"), ("400MiB", "100MiB"), ("100MiB", "400MiB")]
)
def test_the_smaller_of_the_branchs_limit_and_the_operators_holds(
    tmp_path: Path, own: str | None, operators: str
) -> None:
    async def story() -> None:
        limits = LimitsConfig.model_validate({"worker_memory": operators})
        async with running(tmp_path, **branches(own), limits=limits) as world:
            state = await world.settled(serving_code(tmp_path, LOADS.format(mib=200)))
            assert "a worker may have 100MiB" in state["reason"]

    asyncio.run(story())


def test_a_request_that_needs_too_much_fails_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, **branches("150MiB")) as world:
            await world.settled(serving_code(tmp_path, PREDICTS))
            pid = world.state()["workers"][0]["pid"]
            asked = [world.submit([[mib]]) for mib in (1, 500, 1)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(answer).__name__ for answer in answers] == [
                "Answer",
                "ModelError",
                "Answer",
            ]
            with pytest.raises(ModelError, match="MemoryError"):
                await world.ask([[500]])
            # And the branch cannot give itself more, unless it is privileged.
            assert await world.ask([[1]]) == [[150 * MIB, 150 * MIB]]
            assert world.state()["workers"][0]["pid"] == pid
            assert world.exits("died") == 0

    asyncio.run(story())


def test_without_a_limit_there_is_none_and_other_branches_have_their_own(tmp_path: Path) -> None:
    async def story() -> None:
        two = {PROD: BranchConfig(), DEV: having("150MiB")}
        async with running(tmp_path, branches=two) as world:
            await world.settled(serving_code(tmp_path, PREDICTS))
            await world.settled(serving_code(tmp_path, PREDICTS, DEV))
            assert await world.ask([[200]]) == [list(resource.getrlimit(resource.RLIMIT_DATA))]
            with pytest.raises(ModelError, match="MemoryError"):
                await world.submit([[200]], DEV)

    asyncio.run(story())


def test_a_worker_that_dies_of_it_while_loading_names_the_limit_too(tmp_path: Path) -> None:
    """As libraries do that take a failed allocation for the end."""

    async def story() -> None:
        async with running(tmp_path, **branches("100MiB")) as world:
            state = await world.settled(serving_code(tmp_path, "import os\nos.abort()\n"))
            assert "was killed by SIGABRT while loading; it may have 100MiB" in state["reason"]

    asyncio.run(story())


def test_a_limit_too_small_for_anything_is_still_said(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, **branches("1B")) as world:
            state = await world.settled(serving_code(tmp_path, LOADS.format(mib=50)))
            assert "may have 1B of memory" in state["reason"]

    asyncio.run(story())


def test_memory_that_is_full_to_the_last_byte_is_still_said(tmp_path: Path) -> None:
    """To say it takes memory too."""
    code = (
        "HELD = None\nfor size in range(480, -1, -8):\n    try:\n"
        "        while True: HELD = (HELD, bytes(size))\n"
        "    except MemoryError: pass\n"
        "while True: HELD = (HELD, bytes(480))\n"
    )

    async def story() -> None:
        async with running(tmp_path, **branches("40MiB")) as world:
            state = await world.settled(serving_code(tmp_path, code))
            assert "may have 40MiB of memory" in state["reason"]

    asyncio.run(story())


def limited() -> Limit:
    """As in a worker with a limit, without one on this process."""
    found = Limit(None)
    found._given = True
    return found


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "mmap"),
        ImportError("libx.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
    ],
)
def test_what_libraries_say_instead_of_a_memory_error_is_known(error: Exception) -> None:
    assert limited().explains(error)
    outer = ValueError("the model cannot be built")
    outer.__cause__ = error
    assert limited().explains(outer)
    # Without a limit nobody's setting is to blame, and only a plain case is the machine's.
    assert Limit(None).explains(error) == isinstance(error, MemoryError)


def test_other_errors_are_the_branchs_own() -> None:
    circle = ValueError("a circle")
    circle.__context__ = KeyError("behind")
    circle.__context__.__context__ = circle
    assert not limited().explains(circle)
    assert not limited().explains(SystemExit(3))
