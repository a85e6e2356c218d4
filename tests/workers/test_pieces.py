"""Large requests go in pieces: small ones need not wait, and the answer is as if it were whole."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from waiting import wait_until_async
from workers.fleets import PROD, World, running, serving_code, snapshot

from gateway.config.sections import LimitsConfig
from gateway.errors import DeadlineExceeded, InvalidInstances, ModelError, NotReady, Overloaded
from gateway.repositories.move import Move
from gateway.workers.jobs import Answer, Job, Serving
from gateway.workers.pieces import PIECE_BYTES, PIECE_ROWS, Pieces, is_large

#: Answers its name, the row's first value, and how many rows were in the call. A text in a row is
#: a file to wait for; "die" and "raise" do so.
CODE = """
import os, pathlib, signal, time
NAME = {name!r}
ROW_WISE = {row_wise}
def predict(model, rows):
    for (first, *_) in rows:
        if first == "die" and not pathlib.Path({died!r}).exists():
            pathlib.Path({died!r}).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        elif first == "raise":
            raise KeyError("no such feature")
        elif isinstance(first, str) and first != "die":
            gate = pathlib.Path(first)
            gate.with_suffix(".begun").touch()
            while not gate.exists():
                time.sleep(0.002)
    return [[NAME, row[0], len(rows)] for row in rows]
"""


def code(folder: Path, name: str = "one", *, row_wise: bool = True) -> str:
    return CODE.format(name=name, row_wise=row_wise, died=str(folder / "died"))


def large(count: int = 1000) -> list[list[object]]:
    return [[number] for number in range(count)]


async def gated(world: World) -> tuple[asyncio.Future[Answer], Path]:
    """A large request whose first piece is being computed until the gate appears."""
    gate = world.folder / "gate"
    rows: list[list[object]] = [[str(gate)], *large(999)]
    asked = world.submit(rows)
    await wait_until_async(gate.with_suffix(".begun").exists)
    return asked, gate


def test_a_small_request_does_not_wait_for_a_large_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, code(tmp_path)))
            slow, gate = await gated(world)
            small = world.submit([[7]])
            order: list[str] = []
            slow.add_done_callback(lambda _: order.append("large"))
            small.add_done_callback(lambda _: order.append("small"))
            gate.touch()
            await asyncio.gather(slow, small)
            assert order == ["small", "large"]

    asyncio.run(story())


def test_the_answer_is_told_once_and_whole_and_no_call_is_larger_than_a_piece(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, code(tmp_path)))
            answer = await world.submit(large())
            predictions = json.loads(answer.predictions)
            assert [first for _, first, _ in predictions] == list(range(1000))
            assert max(together for *_, together in predictions) == PIECE_ROWS
            assert answer.probabilities == answer.normalised == b""
            ((told,),) = world.frames
            assert (told[0].rows, told[1]) == (1000, answer)
            assert world.slot().queue_rows == 0

    asyncio.run(story())


def test_a_predict_that_wants_a_whole_request_gets_it_whole(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, code(tmp_path, row_wise=False)))
            assert {together for *_, together in await world.ask(large())} == {1000}

    asyncio.run(story())


def test_after_a_swap_no_answer_is_of_two_models(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, code(tmp_path)))
            asked, gate = await gated(world)
            move = serving_code(tmp_path, code(tmp_path, "two"))
            await world.settled(move)
            gate.touch()
            answer = await asked
            assert {name for name, *_ in json.loads(answer.predictions)} == {"two"}
            assert answer.serving.commit == move.commit
            assert len(json.loads(answer.predictions)) == 1000

    asyncio.run(story())


def fitted(folder: Path) -> Move:
    rows = np.arange(40.0).reshape(20, 2)
    joblib.dump(LogisticRegression().fit(rows, np.arange(20) > 9), folder / "model.joblib")
    return snapshot(folder, {"models/model.joblib": (folder / "model.joblib").read_bytes()})


def test_a_model_answers_in_pieces_what_it_answers_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(fitted(tmp_path))
            rows = np.random.default_rng(1).normal(20, 10, (1000, 2))
            answer = await world.submit(rows.tolist())
            model = joblib.load(tmp_path / "model.joblib")
            assert json.loads(answer.predictions) == model.predict(rows).tolist()
            scores = np.array(json.loads(answer.probabilities))
            assert np.abs(scores - model.predict_proba(rows)).max() < 1e-12

    asyncio.run(story())


def test_a_refused_row_has_the_number_that_its_caller_gave_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(fitted(tmp_path))
            rows: list[list[object]] = [[1.0, 2.0]] * 1000
            rows[700] = [1.0, "two"]
            with pytest.raises(InvalidInstances, match="instance 700, column 1"):
                await world.submit(rows)
            assert world.frames == []

    asyncio.run(story())


def test_a_piece_that_fails_is_the_end_of_all_of_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, code(tmp_path)))
            rows = large()
            rows[500] = ["raise"]
            with pytest.raises(ModelError, match="no such feature"):
                await world.submit(rows)
            assert world.frames == []
            assert world.slot().queue_rows == 0
            assert len(await world.ask(large())) == 1000

    asyncio.run(story())


def test_a_worker_that_dies_on_a_piece_costs_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, code(tmp_path)))
            rows = large()
            rows[500] = ["die"]
            answer = await world.submit(rows)
            assert [first for _, first, _ in json.loads(answer.predictions)][499:502] == [
                499,
                "die",
                501,
            ]
            assert world.exits("died") == 1

    asyncio.run(story())


def test_rows_that_wait_for_their_turn_count_in_the_queue(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, limits=LimitsConfig(queue_rows=1500)) as world:
            await world.settled(serving_code(tmp_path, code(tmp_path)))
            first, gate = await gated(world)
            second = world.submit(large())
            assert world.slot().queue_rows == 1000
            with pytest.raises(Overloaded, match="1000 rows are waiting; the bound is 1500"):
                world.submit(large())
            small = world.submit([[1]])
            gate.touch()
            await asyncio.gather(first, second, small)
            assert world.slot().queue_rows == 0

    asyncio.run(story())


def test_a_large_request_past_its_deadline_is_given_up_between_pieces(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, code(tmp_path)))
            gate, late = tmp_path / "gate", tmp_path / "late"
            rows = large()
            rows[0], rows[900] = [str(gate)], [str(late)]
            asked = world.submit(rows, timeout=0.2)
            with pytest.raises(DeadlineExceeded):
                await asked
            gate.touch()
            assert await world.ask([[1]]) == [["one", 1, 1]]
            assert not late.with_suffix(".begun").exists()
            assert world.frames[0][0][0].rows == 1
            assert world.slot().queue_rows == 0

    asyncio.run(story())


def test_what_is_queued_is_finished_when_the_branch_is_removed(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, code(tmp_path)))
            asked, gate = await gated(world)
            slot = world.slot()
            slot.close("the branch is no longer configured")
            with pytest.raises(NotReady):
                world.submit([[1]])
            gate.touch()
            assert len(json.loads((await asked).predictions)) == 1000
            await slot.drained()

    asyncio.run(story())


ROWS = st.lists(
    st.lists(st.integers() | st.text() | st.none() | st.dictionaries(st.text(), st.booleans()))
    | st.dictionaries(st.text(), st.integers()),
    min_size=1,
    max_size=3 * PIECE_ROWS,
)


@given(ROWS, st.sampled_from([1, 40_000]))
def test_the_pieces_are_the_rows_in_their_order(rows: list[object], blow_up: int) -> None:
    rows = [[row, "x" * blow_up] if number % 5 == 0 else row for number, row in enumerate(rows)]
    payload = json.dumps(rows).encode()
    job = Job(payload, len(rows), math.inf, None, _Told())
    put: list[Job] = []
    told: list[tuple[Job, Answer]] = []
    Pieces(job, put.append, told.extend)
    serving = Serving(PROD, *("", ""), None, None)  # type: ignore[arg-type]
    for piece in put:  # grows: each is put when the one before is answered
        assert len(json.loads(piece.payload)) == piece.rows <= PIECE_ROWS
        assert len(piece.payload) <= 2 * PIECE_BYTES
        done = sum(one.rows for one in put)
        assert piece.behind == len(rows) - done
        piece.future.set_result(Answer(piece.payload, b"", piece.payload, len(put), serving))
    ((whole, answer),) = told
    assert whole is job
    assert json.loads(answer.predictions) == json.loads(answer.normalised) == json.loads(payload)
    assert (answer.probabilities, answer.ignored) == (b"", len(put))
    assert is_large(job) or len(put) == 1


class _Told:
    def done(self) -> bool:
        return False

    def set_result(self, answer: Answer) -> None:
        raise AssertionError("told past the slot")

    def set_exception(self, error: Exception) -> None:
        raise error
