"""The queue of a branch: what is computed together, what is refused, what is too late."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from waiting import wait_until_async
from workers.fleets import PROD, World, constant, running, serving_code, sin

from gateway.config.sections import BranchConfig, LimitsConfig
from gateway.errors import DeadlineExceeded, ModelError, NotReady, Overloaded
from gateway.workers.jobs import Answer, Job
from gateway.workers.surroundings import Patience


async def held(world: World) -> tuple[asyncio.Future[Answer], Path]:
    """A worker that is busy until the gate appears."""
    await world.settled(serving_code(world.folder, sin("sleeps")))
    gate = world.folder / "gate"
    future = world.submit([[str(gate)]])
    await wait_until_async(gate.with_suffix(".begun").exists)
    return future, gate


def test_what_comes_together_or_gathers_behind_a_busy_worker_is_one_frame(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, sin("good")))
            together = [world.submit([[n, 1]]) for n in range(3)]
            await asyncio.sleep(0)  # one turn of the loop: these are with the worker
            behind = [world.submit([[n, 1]]) for n in range(3, 20)]
            answers = await asyncio.gather(*together, *behind)
            assert [json.loads(a.predictions) for a in answers] == [[n + 1] for n in range(20)]
            assert [len(frame) for frame in world.frames] == [3, 17]

    asyncio.run(story())


def test_a_frame_holds_at_most_batch_rows_unless_one_request_has_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, limits=LimitsConfig(batch_rows=4)) as world:
            await world.settled(serving_code(tmp_path, sin("good")))
            sizes = [1, 2, 2, 1, 9, 1, 1]
            await asyncio.gather(*(world.submit([[1]] * size) for size in sizes))
            frames = [[job.rows for job, _ in frame] for frame in world.frames]
            assert frames == [[1, 2], [2, 1], [9], [1, 1]]

    asyncio.run(story())


def test_requests_of_a_slow_own_predict_are_not_held_up_by_one_another(tmp_path: Path) -> None:
    """Without ROW_WISE a frame computes one by one, so the first answer would wait for the last."""

    async def story() -> None:
        async with running(tmp_path) as world:
            first, gate = await held(world)
            rest = [world.submit([[0]]) for _ in range(3)]
            gate.touch()
            await asyncio.gather(first, *rest)
            assert len(world.frames[0]) == 1

    asyncio.run(story())


def test_answers_are_told_once_a_frame_and_before_their_futures(tmp_path: Path) -> None:
    async def story() -> None:
        seen: list[bool] = []

        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, sin("good")))
            slot = world.slot()
            slot._answered = lambda good: seen.extend(job.future.done() for job, _ in good)
            await asyncio.gather(*(world.submit([[1]]) for _ in range(5)))
            assert seen == [False] * 5

    asyncio.run(story())


def test_a_recorder_that_fails_costs_no_answer(tmp_path: Path) -> None:
    async def story() -> None:
        reported: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: reported.append(context["message"])
        )

        def broken(good: object) -> None:
            raise OSError("disk full")

        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, sin("good")))
            world.slot()._answered = broken
            assert await world.ask([[1, 2]]) == [3]
            assert await world.ask([[1, 3]]) == [4]
        assert reported == ["answers could not be recorded"] * 2

    asyncio.run(story())


def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, limits=LimitsConfig(queue_rows=4)) as world:
            first, gate = await held(world)
            waiting = [world.submit([[0]] * 2), world.submit([[0]] * 2)]
            with pytest.raises(Overloaded, match="4 rows are waiting; the bound is 4"):
                world.submit([[0]])
            assert world.slot().queue_rows == 4
            gauge = world.metrics.registry.get_sample_value
            assert gauge("gateway_queue_rows", {"branch": "prod"}) == 4
            gate.touch()
            await asyncio.gather(first, *waiting)
            assert world.slot().queue_rows == 0

    asyncio.run(story())


def test_a_job_past_its_deadline_is_never_computed(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            first, gate = await held(world)
            late_gate = tmp_path / "late"
            late = world.submit([[str(late_gate)]], timeout=0.02)
            kept = world.submit([[0]])
            with pytest.raises(DeadlineExceeded):
                await late
            assert world.slot().queue_rows == 1
            gate.touch()
            await asyncio.gather(first, kept)
            assert not late_gate.with_suffix(".begun").exists()

    asyncio.run(story())


def test_a_late_answer_is_not_recorded_and_the_next_one_is_right(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, sin("sleeps")))
            gate = tmp_path / "gate"
            late = world.submit([[str(gate)]], timeout=0.05)
            with pytest.raises(DeadlineExceeded):
                await late
            gate.touch()
            assert await world.ask([[1], [2]]) == [0, 0]
            assert [[job.rows for job, _ in frame] for frame in world.frames] == [[2]]

    asyncio.run(story())


def test_a_cancelled_job_leaves_the_queue(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            first, gate = await held(world)
            gone_gate = tmp_path / "gone"
            gone = world.submit([[str(gone_gate)]])
            gone.cancel()
            gate.touch()
            await first
            await world.ask([[0]])
            assert not gone_gate.with_suffix(".begun").exists()
            assert world.slot().queue_rows == 0

    asyncio.run(story())


def test_without_a_loaded_worker_a_job_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            with pytest.raises(NotReady, match="prod: no worker is loaded"):
                world.submit([[1]])

    asyncio.run(story())


def test_jobs_behind_a_dead_worker_are_answered_by_the_next(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, sin("killed_in_predict")))
            poison = world.submit([["kill"]])
            await asyncio.sleep(0)
            behind = [world.submit([[n]]) for n in range(3)]
            with pytest.raises(ModelError):
                await poison
            answers = await asyncio.gather(*behind)
            assert [json.loads(a.predictions) for a in answers] == [[0], [1], [2]]
            assert not any(job.alone for frame in world.frames for job, _ in frame)

    asyncio.run(story())


def test_a_worker_that_answers_nothing_for_too_long_is_killed_and_replaced(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        patience = Patience(load=60, frame=2.0, timeouts=0)
        async with running(tmp_path, patience=patience) as world:
            await world.settled(serving_code(tmp_path, sin("sleeps")))
            first = world.state()["workers"][0]["pid"]
            stuck = world.submit([[str(tmp_path / "never")]], timeout=1.0)
            with pytest.raises(DeadlineExceeded):
                await stuck
            await wait_until_async(lambda: world.exits("too_slow") == 1)
            await wait_until_async(lambda: world.slot().ready)
            assert world.state()["workers"][0]["pid"] != first
            assert await world.ask([[1]]) == [0]
            assert world.exits("died") == 0

    asyncio.run(story())


def test_several_workers_share_a_queue(tmp_path: Path) -> None:
    async def story() -> None:
        branches = {PROD: BranchConfig(workers=2)}
        async with running(tmp_path, branches=branches) as world:
            held_one, gate = await held(world)
            await world.joined(2)
            assert await world.ask([[1]]) == [0]  # by the other one
            assert not held_one.done()
            gate.touch()
            await held_one

    asyncio.run(story())


def test_shutting_down_finishes_what_was_taken_and_takes_no_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            first, gate = await held(world)
            behind = world.submit([[0]])
            closing = asyncio.ensure_future(
                world.fleet._keepers[PROD].close("the gateway is shutting down")
            )
            await asyncio.sleep(0)
            with pytest.raises(NotReady, match="shutting down"):
                world.submit([[0]])
            gate.touch()
            await closing
            assert first.done()
            assert json.loads(behind.result().predictions) == [0]

    asyncio.run(story())


def test_a_large_frame_goes_both_ways_whole(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            code = "def predict(model, rows): return [row[0] for row in rows]\n"
            await world.settled(serving_code(tmp_path, code))
            long = "x" * 3_000_000
            assert await world.ask([[long]]) == [long]

    asyncio.run(story())


def test_the_answer_carries_who_gave_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            move = constant(tmp_path, 1)
            await world.settled(move)
            answer = await world.submit([[1]])
            assert answer.serving == world.slot().serving
            assert answer.serving.commit == move.commit
            assert answer.serving.fingerprint == move.fingerprint

    asyncio.run(story())


def test_the_context_of_a_job_is_left_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(constant(tmp_path, 1))
            loop, context = asyncio.get_running_loop(), object()
            future: asyncio.Future[Answer] = loop.create_future()
            world.slot().submit(Job(b"[[1]]", 1, loop.time() + 5, context, future))
            await future
            assert world.frames[0][0][0].context is context

    asyncio.run(story())
