"""In the worker: what is past its deadline when its turn comes is never computed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from waiting import wait_until_async
from workers.fleets import running, serving_code, sin

from gateway.errors import DeadlineExceeded
from gateway.workers import wire
from gateway.workers.runner.estimator import examined
from gateway.workers.runner.frames import LATE, OK, Reply, requests
from gateway.workers.runner.own import Own
from gateway.workers.runner.standard import Standard
from gateway.workers.runner.turns import together

PAST, EVER = -1.0, inf


class Counting:
    """A linear model that remembers how many rows each call had, and fails on a marked one."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.n_features_in_ = 2

    def predict(self, rows: Any) -> Any:
        self.calls.append(len(rows))
        if (rows[:, 0] == 13).any():
            raise RuntimeError("not this one")
        return rows.sum(axis=1)


def standard(model: Any) -> Standard:
    return Standard(examined(model), strict=False, redact=frozenset(), withhold=False)


def own(predict: Any, *, row_wise: bool) -> Own:
    return Own(
        None,
        predict,
        row_wise=row_wise,
        columns=None,
        classes=None,
        redact=frozenset(),
        withhold=False,
    )


@given(st.lists(st.tuples(st.binary(max_size=20), st.floats(allow_nan=False)), min_size=1))
def test_a_frame_carries_each_request_with_its_deadline(sent: list[tuple[bytes, float]]) -> None:
    payloads, deadlines = [list(part) for part in zip(*sent, strict=True)]
    frame = wire.predict_frame(payloads, deadlines)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    found, times = requests(frame[4:])
    assert (found, list(times)) == (payloads, deadlines)


@given(st.lists(st.sampled_from([PAST, EVER]), min_size=1, max_size=8))
def test_those_in_time_go_to_the_model_in_one_call_and_the_others_not_at_all(
    deadlines: list[float],
) -> None:
    calls: list[Sequence[bytes]] = []

    def answer(payloads: Sequence[bytes], times: Sequence[float]) -> list[Reply]:
        assert PAST not in times
        calls.append(payloads)
        return [Reply(OK, 0, payload) for payload in payloads]

    payloads = [b"%d" % number for number in range(len(deadlines))]
    replies = together(answer, payloads, deadlines)
    in_time = [p for p, deadline in zip(payloads, deadlines, strict=True) if deadline == EVER]
    assert calls == ([in_time] if in_time else [])
    said = [reply.predictions if reply.status == OK else None for reply in replies]
    assert said == [p if p in in_time else None for p in payloads]
    assert {reply.status for reply in replies} <= {OK, LATE}


def test_a_batch_that_failed_is_not_run_again_for_those_who_have_gone() -> None:
    model = Counting()
    payloads = [b"[[1,1]]", b"[[13,1]]", b"[[2,2]]"]
    replies = standard(model).answer(payloads, [EVER, EVER, PAST])
    assert [reply.status for reply in replies] == [OK, 2, LATE]
    assert model.calls == [3, 1, 1]


def test_a_batch_with_nulls_that_failed_is_not_run_again_for_those_who_have_gone() -> None:
    model = Counting()
    payloads = [b"[[1,null]]", b"[[13,null]]", b"[[2,null]]"]
    replies = standard(model).answer(payloads, [EVER, EVER, PAST])
    assert [reply.status for reply in replies] == [OK, 2, LATE]
    assert PAST not in model.calls
    assert model.calls.count(1) == 2


def test_an_own_predict_is_asked_only_for_those_who_still_wait() -> None:
    asked: list[Any] = []

    def predict(_: Any, rows: list[Any]) -> list[Any]:
        asked.append(rows)
        if len(rows) > 1:
            raise RuntimeError("one at a time")
        return rows

    times = [EVER, PAST, EVER]
    replies = own(predict, row_wise=False).answer([b"[1]", b"[2]", b"[3]"], times)
    assert [reply.status for reply in replies] == [OK, LATE, OK]
    assert asked == [[1], [3]]
    asked.clear()
    # One that cannot be read says so also to whoever has gone; the others keep their own times.
    replies = own(predict, row_wise=True).answer([b"[1]", b"]", b"[2]"], [EVER, EVER, PAST])
    assert [reply.status for reply in replies] == [OK, 1, LATE]
    assert asked == [[1, 2], [1]]


def test_answers_are_the_same_with_deadlines_and_without() -> None:
    x = np.array([[0.0, 1.0], [1.0, 0.0], [0.2, 0.9], [0.9, 0.1]])
    served = standard(LogisticRegression().fit(x, [0, 1, 0, 1]))
    payloads = [b"[[0,1]]", b"[[1,null]]", b"[[1,0],[0,1]]", b"[]"]
    assert served.answer(payloads) == together(served.answer, payloads, [EVER] * 4)


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_loops_and_workers_have_one_clock(tmp_path: Path, loop: Any) -> None:
    code = "import time\ndef predict(model, rows): return [time.monotonic() for _ in rows]\n"

    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, code))
            before = time.monotonic()
            (there,) = await world.ask([[1]])
            assert before <= there <= time.monotonic()
            # Loops round down, to milliseconds or to a tick of the kernel.
            assert before - 0.1 <= asyncio.get_running_loop().time() <= time.monotonic()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())


def test_what_is_late_behind_a_slow_one_of_its_frame_is_not_computed(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, sin("sleeps")))
            world.slot()._seats[0].most = 3  # as after quick answers
            gate, never = tmp_path / "gate", tmp_path / "never"
            slow = world.submit([[str(gate)]])
            late = world.submit([[str(never)]], timeout=0.5)
            last = world.submit([[0]])
            with pytest.raises(DeadlineExceeded, match="prod: no answer within the branch's"):
                await late
            assert len(world.slot()._seats[0].flight) == 3
            gate.touch()
            await asyncio.gather(slow, last)  # never, if it were computed: its gate stays shut
            assert not never.with_suffix(".begun").exists()
            assert [len(frame) for frame in world.frames] == [2]

    asyncio.run(story())


def test_a_frame_that_nobody_waits_for_leaves_the_worker_well(tmp_path: Path) -> None:
    """A worker that was stopped for a while finds only late requests when it goes on."""

    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, sin("sleeps")))
            gate = tmp_path / "gate"
            slow = world.submit([[str(gate)]])
            await wait_until_async(gate.with_suffix(".begun").exists)
            late = [world.submit([[0]], timeout=0.05) for _ in range(3)]
            results = await asyncio.gather(*late, return_exceptions=True)
            assert all(isinstance(result, DeadlineExceeded) for result in results)
            gate.touch()
            await slow
            assert await world.ask([[0]]) == [0]

    asyncio.run(story())
