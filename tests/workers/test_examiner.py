"""A branch that fails is left out, probed on its own workers, and taken back: with real workers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until_async
from workers.fleets import PROD, QUICK, World, constant, running, serving_code, sin, snapshot

from gateway.config.sections import BranchConfig
from gateway.errors import DeadlineExceeded, InvalidInstances, ModelError, NotReady
from gateway.repositories.move import Move
from gateway.workers.surroundings import Patience

#: Broken while a file is there; else it answers each row's first value.
FLAGGED = """
import pathlib
def predict(model, rows):
    if pathlib.Path({flag!r}).exists():
        raise RuntimeError("the feature store is away")
    if rows[0][0] == "poison":
        raise RuntimeError("poison")
    return [row[0] for row in rows]
"""
GOLDEN = json.dumps({"instances": [["g"]], "predictions": ["g"]})
USERS = ["ada", "ben", "cyn", "dan", "eve"]
#: Nothing happens by itself.
SLOW = Patience(load=60.0, frame=60.0, first_wait=1000.0, longest_wait=1000.0)


class Flag:
    """Breaks and mends the model."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "broken"

    def move(self, folder: Path, **files: str) -> Move:
        code = FLAGGED.format(flag=str(self.path))
        return snapshot(folder, {"src/serve.py": code, **files})


async def failures(world: World, users: list[Any], rows: object = (("x",),)) -> None:
    for user in users:
        with pytest.raises(ModelError):
            await world.submit(list(rows) if isinstance(rows, tuple) else rows, unit=user)


def ejected(world: World) -> float | None:
    return world.metrics.registry.get_sample_value("gateway_branch_ejected", {"branch": "prod"})


def decisions(world: World) -> list[str]:
    return [said[2] for said in world.decisions]


def test_five_failures_of_different_users_eject_and_a_recent_row_brings_it_back(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        flag = Flag(tmp_path)
        async with running(tmp_path, patience=QUICK) as world:
            move = flag.move(tmp_path)
            await world.settled(move)
            assert await world.ask([["seen"]]) == ["seen"]
            flag.path.touch()
            await failures(world, USERS[:4])
            assert world.state()["state"] == "ready"
            assert world.state()["ejected"] is None
            await failures(world, USERS[4:])
            with pytest.raises(NotReady, match="ejected after 5 failures in a row, of diff"):
                world.submit([["x"]])
            state = world.state()
            assert state["state"] == "ejected"
            assert "the feature store is away" in state["ejected"]["reason"]
            assert state["ejected"]["since"].endswith("Z")
            assert ejected(world) == 1
            flag.path.unlink()
            await wait_until_async(lambda: ejected(world) == 0, describe=world.state)
            assert await world.ask([["back"]]) == ["back"]
            assert world.state()["state"] == "ready"
            assert decisions(world) == ["serving", "ejected", "ejection_ended"]
            _, commit, _, reason, evidence = world.decisions[1]
            assert commit == move.commit
            assert reason.startswith("5 failures in a row, of different users: RuntimeError: the f")
            assert (evidence["failures"], evidence["fingerprint"]) == (5, move.fingerprint)
            assert world.decisions[2][3] == "probed by recent"

    asyncio.run(story())


def test_a_good_answer_between_begins_the_row_anew(tmp_path: Path) -> None:
    async def story() -> None:
        flag = Flag(tmp_path)
        async with running(tmp_path, patience=SLOW) as world:
            await world.settled(flag.move(tmp_path))
            for _ in range(3):
                flag.path.touch()
                await failures(world, USERS[:4])
                flag.path.unlink()
                assert await world.ask([["good"]]) == ["good"]
            assert decisions(world) == ["serving"]

    asyncio.run(story())


def test_what_fails_beside_a_good_answer_says_nothing_of_the_branch(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, patience=SLOW) as world:
            await world.settled(serving_code(tmp_path, sin("raises_in_predict")))
            bad = [world.submit([["raise", 1]], unit=user) for user in USERS]
            good = world.submit([["fine"]], unit="fay")
            answers = await asyncio.gather(*bad, good, return_exceptions=True)
            assert [type(answer).__name__ for answer in answers] == ["ModelError"] * 5 + ["Answer"]
            assert decisions(world) == ["serving"]
            assert world.slot().failures.ejection.failures == 0

    asyncio.run(story())


@pytest.mark.parametrize("user", ["mallory", None])
def test_a_poison_request_never_ejects_a_branch(tmp_path: Path, user: str | None) -> None:
    """Neither where rows show that it works, nor where there is nothing to show it with."""

    async def story() -> None:
        flag = Flag(tmp_path)
        async with running(tmp_path, patience=SLOW) as world:
            await world.settled(flag.move(tmp_path, **{"metrics/golden.json": GOLDEN}))
            await failures(world, [user] * 12, (("poison",),))
            slot = world.slot()
            await wait_until_async(
                lambda: slot.failures.ejection.failures < 5, describe=world.state
            )
            await world.settled(flag.move(tmp_path))  # as good, with nothing to probe it with
            await failures(world, [user] * 12, (("poison",),))
            assert slot.failures.ejection.failures == 12
            assert await world.ask([["good"]]) == ["good"]
            assert decisions(world) == ["serving", "serving"]

    asyncio.run(story())


def test_one_users_failures_eject_where_a_golden_row_fails_too(tmp_path: Path) -> None:
    async def story() -> None:
        flag = Flag(tmp_path)
        async with running(tmp_path, patience=SLOW) as world:
            await world.settled(flag.move(tmp_path, **{"metrics/golden.json": GOLDEN}))
            flag.path.touch()
            await failures(world, ["ada"] * 5)
            await wait_until_async(lambda: ejected(world) == 1, describe=world.state)
            reason = world.decisions[-1][3]
            assert reason.startswith("5 failures in a row, and of a row that must work:")
            assert "the feature store is away" in reason

    asyncio.run(story())


def test_with_nothing_to_probe_it_a_request_is_let_through_on_trial(tmp_path: Path) -> None:
    async def story() -> None:
        flag = Flag(tmp_path)
        async with running(tmp_path, patience=QUICK) as world:
            flag.path.touch()
            await world.settled(flag.move(tmp_path))
            await failures(world, USERS)

            async def taken_back() -> None:
                await wait_until_async(lambda: ejected(world) == 0, describe=world.state)

            await taken_back()
            await failures(world, ["ada"])  # one is enough now
            assert ejected(world) == 1
            await taken_back()
            flag.path.unlink()
            assert await world.ask([["good"]]) == ["good"]
            flag.path.touch()
            await failures(world, USERS[:4])
            assert ejected(world) == 0
            words = ["serving", *["ejected", "ejection_ended"] * 2]
            assert decisions(world) == words
            assert world.decisions[2][3] == "on trial: there is nothing to probe it with"

    asyncio.run(story())


def test_neither_invalid_rows_nor_callers_deadlines_count(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, patience=SLOW) as world:
            await world.settled(serving_code(tmp_path, sin("sleeps")))
            for user in USERS:
                with pytest.raises(InvalidInstances):
                    await world.submit(b"[", unit=user)
            gates = [tmp_path / user for user in USERS]
            for gate, user in zip(gates, USERS, strict=True):
                late = world.submit([[str(gate)]], timeout=0.05, unit=user, hurried=True)
                with pytest.raises(DeadlineExceeded):
                    await late
                gate.touch()
                await wait_until_async(lambda: not world.slot()._seats[0].worker.busy)
            assert world.slot().failures.ejection.failures == 0

    asyncio.run(story())


def test_a_branch_that_answers_too_late_is_ejected_and_who_waits_for_it_is_told(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        branches = {PROD: BranchConfig.model_validate({"timeout": "1s"})}
        async with running(tmp_path, patience=SLOW, branches=branches) as world:
            await world.settled(serving_code(tmp_path, sin("sleeps")))
            gates = [tmp_path / user for user in USERS]
            for gate, user in zip(gates, USERS, strict=True):
                late = world.submit([[str(gate)]], timeout=1.0, unit=user)
                await wait_until_async(gate.with_suffix(".begun").exists)
                if gate is gates[-1]:
                    told = world.submit([[0]], timeout=50.0, unit="told")
                    kept = world.submit([[0]], timeout=50.0, unit="kept", patient=True)
                with pytest.raises(DeadlineExceeded):
                    await late
                if gate is not gates[-1]:
                    gate.touch()
                    await wait_until_async(lambda: not world.slot()._seats[0].worker.busy)
            with pytest.raises(NotReady, match=r"ejected after .*: no answer within 1 s"):
                await told
            assert ejected(world) == 1
            assert world.slot().queue_rows == 1
            gates[-1].touch()
            assert json.loads((await kept).predictions) == [0]
            assert decisions(world) == ["serving", "ejected", "ejection_ended"]
            assert world.decisions[-1][3] == "a request was answered"

    asyncio.run(story())


def test_one_request_that_hangs_ejects_nobody_however_many_wait_behind_it(tmp_path: Path) -> None:
    async def story() -> None:
        branches = {PROD: BranchConfig.model_validate({"timeout": "1s"})}
        async with running(tmp_path, patience=SLOW, branches=branches) as world:
            await world.settled(serving_code(tmp_path, sin("sleeps")))
            assert await world.ask([[0]]) == [0]
            gate = tmp_path / "gate"
            hanging = world.submit([[str(gate)]], timeout=1.0, unit="mallory")
            await wait_until_async(gate.with_suffix(".begun").exists)
            behind = [world.submit([[0]], timeout=1.0, unit=user) for user in USERS * 3]
            late = await asyncio.gather(hanging, *behind, return_exceptions=True)
            assert all(isinstance(error, DeadlineExceeded) for error in late)
            assert world.slot().failures.ejection.failures == 16
            assert world.state()["ejected"] is None
            gate.touch()
            # The free worker answers a recent row, so it was that request.
            await wait_until_async(lambda: world.slot().failures.ejection.failures == 0)
            assert await world.ask([[0]]) == [0]
            assert decisions(world) == ["serving"]
            assert world.exits("too_slow") == 0

    asyncio.run(story())


def test_a_worker_that_hangs_on_a_probe_row_is_replaced_and_the_branch_left_out(
    tmp_path: Path,
) -> None:
    """The first request hangs, and the row that must work does too."""

    async def story() -> None:
        branches = {PROD: BranchConfig.model_validate({"timeout": "1s", "workers": 2})}
        async with running(tmp_path, patience=QUICK, branches=branches) as world:
            flag = tmp_path / "hang"
            code = (
                "import pathlib, time\ndef predict(model, rows):\n"
                f"    while pathlib.Path({str(flag)!r}).exists(): time.sleep(0.01)\n"
                "    return [row[0] for row in rows]\n"
            )
            move = snapshot(tmp_path, {"src/serve.py": code, "metrics/golden.json": GOLDEN})
            await world.settled(move)
            await world.joined(2)
            flag.touch()
            asked = [world.submit([["x"]], timeout=1.0, unit="ada") for _ in range(5)]
            await asyncio.gather(*asked, return_exceptions=True)
            # Both are stuck with requests; let one go for the probe, and hang again.
            world.slot()._seats[0].worker.kill()
            await wait_until_async(lambda: ejected(world) == 1, describe=world.state)
            await wait_until_async(lambda: world.exits("too_slow") >= 1, describe=world.state)
            flag.unlink()
            await wait_until_async(lambda: ejected(world) == 0, describe=world.state)
            assert await world.ask([["well"]]) == ["well"]

    asyncio.run(story())


def test_other_content_ends_an_ejection(tmp_path: Path) -> None:
    async def story() -> None:
        flag = Flag(tmp_path)
        async with running(tmp_path, patience=SLOW) as world:
            await world.settled(flag.move(tmp_path))
            flag.path.touch()
            await failures(world, USERS)
            assert ejected(world) == 1
            cure = constant(tmp_path, "cured")
            await world.settled(cure)
            assert ejected(world) == 0
            assert await world.ask([[1]]) == ["cured"]
            assert decisions(world) == ["serving", "ejected", "ejection_ended", "serving"]
            assert world.decisions[2][1] == cure.commit

    asyncio.run(story())


def test_a_swap_in_the_middle_of_a_probe_leaves_no_worker_behind(tmp_path: Path) -> None:
    """`running` looks, at its end, for processes and leases that are left."""

    async def story() -> None:
        async with running(tmp_path, patience=SLOW) as world:
            await world.settled(serving_code(tmp_path, sin("sleeps")))
            slot = world.slot()
            seat = await slot.borrow()
            world.state()
            waiting = world.submit([[0]])
            await world.settled(constant(tmp_path, 7))
            assert json.loads((await waiting).predictions) == [7]
            slot.give_back(seat)
            # Counted once it has been buried, which comes after its end.
            await wait_until_async(lambda: world.exits("retired") == 1)
            assert seat.worker.ended

    asyncio.run(story())


def test_what_is_borrowed_is_given_no_frame_and_comes_back_to_what_waits(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, patience=SLOW) as world:
            await world.settled(constant(tmp_path, 7))
            slot = world.slot()
            first = asyncio.ensure_future(slot.borrow())
            seat = await first
            waiting = world.submit([[0]])
            second = asyncio.ensure_future(slot.borrow())
            await asyncio.sleep(0)
            assert slot.queue_rows == 1
            slot.give_back(seat)  # to the next borrower, before what waits
            second.cancel()  # in the same moment
            await asyncio.gather(second, return_exceptions=True)
            assert json.loads((await waiting).predictions) == [7]

    asyncio.run(story())


def test_a_shadow_is_never_ejected(tmp_path: Path) -> None:
    async def story() -> None:
        flag = Flag(tmp_path)
        shadow = {PROD: BranchConfig(shadow=True)}
        async with running(tmp_path, patience=SLOW, branches=shadow) as world:
            await world.settled(flag.move(tmp_path))
            flag.path.touch()
            await failures(world, USERS * 2)
            assert ejected(world) == 0

    asyncio.run(story())


def test_a_branch_that_is_leaving_is_examined_no_more(tmp_path: Path) -> None:
    """Whoever is told of decisions may not know the branch any more."""
    code = sin("sleeps").replace(
        "    for row", "    if instances[0][0] == 'bad': raise RuntimeError('bad')\n    for row"
    )

    async def story() -> None:
        branches = {PROD: BranchConfig(workers=2)}
        async with running(tmp_path, patience=QUICK, branches=branches) as world:
            await world.settled(serving_code(tmp_path, code))
            await world.joined(2)
            assert await world.ask([[0]]) == [0]
            gate = tmp_path / "gate"
            held = world.submit([[str(gate)]], patient=True)
            await wait_until_async(gate.with_suffix(".begun").exists)
            await failures(world, USERS, (("bad",),))
            assert ejected(world) == 1
            keeper = world.fleet._keepers[PROD]
            leaving = asyncio.ensure_future(keeper.close("the branch is no longer configured"))
            await asyncio.sleep(0)
            assert not leaving.done()
            assert keeper._examiner._task is None
            gate.touch()  # a good answer, which would end the ejection
            await asyncio.gather(leaving, held)
            assert decisions(world) == ["serving", "ejected"]

    asyncio.run(story())
