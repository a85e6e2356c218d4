"""Copies: who gets one, how much is held of them, and what each leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import wait_until_async
from workers.fleets import DEV, PROD, World, constant, running, serving_code, sin

from gateway import shadows as room
from gateway.access.guard import Guard
from gateway.chunks import Chunk, Log, Request
from gateway.config import Config
from gateway.journal import Journal
from gateway.names import RequestId
from gateway.recording import LOG_LINES, Exchange, Recorder
from gateway.routing import Routing
from gateway.shadows import Shadows
from gateway.web.predict import Flight, Predict
from gateway.workers.jobs import Answer
from gateway.workers.surroundings import Patience

RAISES = "def predict(model, rows): raise KeyError('no such feature')\n"


def config(**dev: Any) -> Config:
    # Its workers yield the processor to whatever else runs on the machine.
    branches = {"prod": {"weight": 1}, "dev": {"shadow": True, "timeout": "60s", **dev}}
    return Config.model_validate({"repository": "r", "baseline": "prod", "branches": branches})


class Story:
    """A fleet of prod and its shadow dev, a journal, and requests that prod has answered."""

    def __init__(self, world: World, folder: Path, given: Config) -> None:
        self.world = world
        self.folder = folder
        self.routing = Routing(given, b"k" * 32, {})
        journal = Journal(
            folder,
            "a1b2c3d4",
            limit_bytes=10**8,
            header=lambda: {"sample_rows": "all", "features": "segments"},
        )
        self.recorder = Recorder(journal, self.routing, world.metrics, lambda: None)
        world.slot(DEV)._answered = self.recorder.answered
        self.shadows = Shadows(world.fleet, self.recorder, world.metrics)
        self.shadows.configure(given)
        self._numbers = iter(range(10**6))

    def reconfigure(self, given: Config) -> None:
        self.routing.apply(given)
        self.shadows.configure(given)

    async def answered(self, rows: object = ((1, 2),), unit: str | None = "ada") -> Exchange:
        """A request that prod answers, as it is when its answer has been given."""
        request_id = RequestId.build(1, next(self._numbers))
        payload = json.dumps(rows).encode()
        assignment = self.routing.assign(unit, request_id)
        exchange = Exchange(request_id, assignment, payload, len(json.loads(payload)), 0.0)
        answer = await self.world.submit(payload, count=exchange.rows)
        self.shadows.offer(exchange, answer)
        return exchange

    @property
    def status(self) -> dict[str, Any]:
        found = self.shadows.status(DEV)
        assert found is not None
        return found

    async def ended(self, **counts: int) -> None:
        """Until so many requests of each status, and rows of each reason, have ended."""

        def seen() -> dict[str, int]:
            now = self.status
            counted = {**now["requests"], **now["dropped_rows"]}
            return {word: count for word, count in counted.items() if count}

        await wait_until_async(lambda: seen() == counts, describe=lambda: (seen(), counts))

    def read(self) -> list[Any]:
        self.recorder.seal()
        found: list[Any] = []
        for path in sorted(self.folder.rglob("*.jsonl")):
            with Chunk(path) as chunk:
                found += chunk
        return found

    def copies(self) -> list[Request]:
        return [record for record in self.read() if isinstance(record, Request)]


@asynccontextmanager
async def story(folder: Path, dev: Any, **settings: Any) -> AsyncIterator[Story]:
    """`dev` makes the shadow's move; None leaves it without a worker."""
    given = config(**settings)
    async with running(folder, branches=given.branches) as world:
        await world.settled(constant(folder, 1))
        if dev is not None:
            await world.settled(dev)
        yield Story(world, folder / "journal", given)


def within(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(body())


def test_an_answer_is_given_before_a_copy_is_thought_of(tmp_path: Path) -> None:
    async def body() -> None:
        async with story(tmp_path, constant(tmp_path, 1, DEV)) as told:
            guard = Guard(told.routing.config, told.world.metrics)
            predict = Predict(
                told.routing, told.world.fleet, told.recorder, told.world.metrics, guard
            )
            events: list[str] = []

            def given(exchange: Exchange, answer: Answer) -> None:
                events.append("given")
                told.shadows.offer(exchange, answer)
                # Not yet: other answers of this turn come first.
                events.append(f"holds {told.status['rows']}")

            predict.given = given
            request_id = RequestId.build(1, 1)
            assignment = told.routing.assign("ada", request_id)
            exchange = Exchange(request_id, assignment, b"[[1]]", 1, 0.0)
            Flight(predict, exchange, lambda *_: events.append("answered")).ask()
            await wait_until_async(lambda: "given" in events)
            assert events == ["answered", "given", "holds 0"]
            await told.ended(ok=1)

    within(body)


def test_a_copy_is_a_record_of_its_own_under_the_same_request_id(tmp_path: Path) -> None:
    async def body() -> None:
        async with story(tmp_path, constant(tmp_path, 2, DEV)) as told:
            asked = await told.answered([[1, 2], [3, 4]])
            nobody = await told.answered(unit=None)
            await told.ended(ok=2)
            one, other = told.copies()
            assert (one.request_id, one.rows, one.status) == (asked.request_id, 2, "ok")
            assert (one.branch, one.assigned, one.reason) == (DEV, DEV, "shadow")
            assert (one.unit, one.epoch) == (asked.assignment.unit, told.routing.epoch)
            assert one.propensity == 1.0
            serving = told.world.slot(DEV).serving
            assert serving is not None
            assert (one.commit, one.fingerprint) == (serving.commit, serving.fingerprint)
            assert [bytes(x) for x in one.predictions or ()] == [b"2", b"2"]
            assert [bytes(x) for x in one.instances or ()] == [b"[1, 2]", b"[3, 4]"]
            assert (other.request_id, other.unit, other.reason) == (
                nobody.request_id,
                None,
                "shadow",
            )
            requests = told.world.metrics.branch(DEV).requests
            assert [child._value.get() for child in requests.values()] == [0] * len(requests)

    within(body)


def test_a_share_is_always_of_the_same_requests_and_recorded_as_the_chance(
    tmp_path: Path,
) -> None:
    async def body() -> None:
        async with story(tmp_path, constant(tmp_path, 2, DEV), shadow_share=0.3) as told:
            first = [await told.answered() for _ in range(100)]
            expected = {e.request_id for e in first if room._falls(e.request_id, 0.3)}
            # Not by what is held: the last ones may still be gathering.
            await wait_until_async(lambda: told.status["requests"].get("ok") == len(expected))
            told.reconfigure(config(shadow_share=0.8))
            await told.answered()
            second = [await told.answered() for _ in range(100)]
            later = {e.request_id for e in second if room._falls(e.request_id, 0.8)}
            assert 15 < len(expected) < 45
            assert 65 < len(later) < 95
            await wait_until_async(lambda: told.status["requests"]["ok"] >= len(expected | later))
            await wait_until_async(lambda: told.status["rows"] == 0)
            found = {record.request_id: record.propensity for record in told.copies()}
            assert {one for one, share in found.items() if share == 0.3} == expected
            assert {one for one, share in found.items() if share == 0.8} >= later
            assert set(found.values()) == {0.3, 0.8}

    within(body)


def test_a_share_holds_the_requests_of_every_smaller_one(tmp_path: Path) -> None:
    ids = [RequestId.build(1, number) for number in range(2000)]
    shares = [0.0, 0.1, 0.5, 0.9, 1.0]
    falls = [{one for one in ids if room._falls(one, share)} for share in shares]
    assert falls[0] == set()
    assert falls[-1] == set(ids)
    for smaller, larger in pairwise(falls):
        assert smaller < larger


async def held(told: Story, folder: Path) -> Path:
    """The shadow's worker is busy with one row until the gate appears."""
    gate = folder / "gate"
    await told.answered([[str(gate)]])
    await wait_until_async(gate.with_suffix(".begun").exists)
    return gate


def test_what_it_holds_is_bounded_in_rows_and_the_rest_is_dropped(tmp_path: Path) -> None:
    async def body() -> None:
        dev = serving_code(tmp_path, sin("sleeps"), DEV)
        async with story(tmp_path, dev, shadow_rows=5) as told:
            gate = await held(told, tmp_path)
            for count in (2, 3, 2, 1):  # of these the 3 do not fit, and then nothing does
                await told.answered([[0]] * count)
            await told.ended(overload=4)
            assert told.status["rows"] == 5
            assert told.world.slot(DEV).queue_rows == 4
            gate.touch()
            await told.ended(ok=3, overload=4)
            assert told.status["rows"] == 0
            assert sorted(record.rows for record in told.copies()) == [1, 2, 2]

    within(body)


def test_what_it_holds_is_bounded_in_bytes_too_but_one_request_may_be_larger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_MOST_BYTES", 1000)

    async def body() -> None:
        dev = serving_code(tmp_path, sin("sleeps"), DEV)
        async with story(tmp_path, dev) as told:
            gate = await held(told, tmp_path)
            await told.answered([[0, "x" * 500]])
            await told.answered([[0, "x" * 900]])
            await told.ended(overload=1)
            gate.touch()
            await told.ended(ok=2, overload=1)
            await told.answered([[0, "x" * 5000]])
            await told.ended(ok=3, overload=1)

    within(body)


def test_what_no_worker_is_there_for_is_dropped_and_leaves_no_row(tmp_path: Path) -> None:
    async def body() -> None:
        async with story(tmp_path, None) as told:
            await told.answered([[1], [2]])
            await told.ended(not_ready=2)
            assert told.copies() == []

    within(body)


def test_what_was_computed_too_late_is_a_timeout_and_what_was_never_taken_is_not(
    tmp_path: Path,
) -> None:
    async def body() -> None:
        dev = serving_code(tmp_path, sin("sleeps"), DEV)
        async with story(tmp_path, dev, timeout="3s") as told:
            gate = tmp_path / "gate"
            taken = await told.answered([[str(gate)]])
            await wait_until_async(gate.with_suffix(".begun").exists)
            await told.answered([[0]] * 3)
            await told.ended(timeout=1, late=3)
            (record,) = told.copies()
            assert (record.request_id, record.status) == (taken.request_id, "timeout")
            gate.touch()
            await wait_until_async(lambda: told.world.state(DEV)["workers"][0]["state"] == "idle")
            await told.answered()
            await told.ended(timeout=1, late=3, ok=1)
            assert [one.status for one in told.copies()] == ["timeout", "ok"]

    within(body)


def test_what_its_model_cannot_use_is_invalid(tmp_path: Path) -> None:
    async def body() -> None:
        async with story(tmp_path, serving_code(tmp_path, sin("good"), DEV)) as told:
            told.shadows.offer(*(await foreign(told, b"[1e999]")))
            await told.ended(invalid=1)
            (record,) = told.copies()
            assert record.status == "invalid"
            assert record.error

    within(body)


async def foreign(told: Story, payload: bytes) -> tuple[Exchange, Answer]:
    """What only some models take: prod has answered it by other means."""
    request_id = RequestId.build(2, 1)
    exchange = Exchange(request_id, told.routing.assign("ada", request_id), payload, 1, 0.0)
    return exchange, await told.world.submit([[1]])


def test_failures_are_recorded_each_and_said_as_often_as_a_branch_may(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The minute of the lines does not turn.
    stopped = SimpleNamespace(
        monotonic=lambda: 90.0, time=time.time, perf_counter=time.perf_counter
    )
    monkeypatch.setattr("gateway.recording.time", stopped)

    async def body() -> None:
        dev = serving_code(tmp_path, RAISES, DEV)
        async with story(tmp_path, dev, shadow_rows=10_000) as told:
            asked = [(await told.answered()).request_id for _ in range(LOG_LINES + 50)]
            await told.ended(error=len(asked))
            records = told.read()
            failed = [record for record in records if isinstance(record, Request)]
            assert Counter(one.request_id for one in failed) == Counter(asked)
            assert {one.status for one in failed} == {"error"}
            lines = [record for record in records if isinstance(record, Log)]
            assert {line.branch for line in lines} == {DEV}
            assert "no such feature" in lines[0].message
            assert {line.request_id for line in lines} <= set(asked)
            assert len(lines) == LOG_LINES
            said = [one for one in caplog.records if "no such feature" in one.getMessage()]
            assert len(said) == len(lines)

    within(body)


def test_what_the_shadow_itself_answered_is_not_copied_to_it(tmp_path: Path) -> None:
    """A last user of an arm that has just become a shadow: its row is there already."""

    async def body() -> None:
        async with story(tmp_path, constant(tmp_path, 2, DEV)) as told:
            request_id = RequestId.build(1, 1)
            exchange = Exchange(request_id, told.routing.assign("u", request_id), b"[[1]]", 1, 0.0)
            answer = await told.world.submit(b"[[1]]", DEV, count=1)
            told.shadows.offer(exchange, answer)
            asked = await told.answered()
            await told.ended(ok=1)
            assert [one.request_id for one in told.copies()] == [asked.request_id]

    within(body)


def test_a_shadow_that_is_none_any_more_makes_room_for_users_at_once(tmp_path: Path) -> None:
    async def body() -> None:
        dev = serving_code(tmp_path, sin("sleeps"), DEV)
        async with story(tmp_path, dev) as told:
            gate = await held(told, tmp_path)
            gone = tmp_path / "gone"
            await told.answered([[str(gone)]])
            await wait_until_async(lambda: told.world.slot(DEV).queue_rows == 1)
            arm = {"prod": {"weight": 1}, "dev": {"weight": 1}}
            told.reconfigure(
                Config.model_validate({"repository": "r", "baseline": "prod", "branches": arm})
            )
            assert told.shadows.status(DEV) is None
            value = told.world.metrics.registry.get_sample_value
            dropped = {"branch": "dev", "reason": "ended"}
            assert value("gateway_shadow_dropped_rows_total", dropped) == 2
            user = told.world.submit([[0]], DEV)
            gate.touch()
            assert json.loads((await user).predictions) == [0]
            assert not gone.with_suffix(".begun").exists()
            assert told.copies() == []

    within(body)


def test_closing_waits_for_no_copy(tmp_path: Path) -> None:
    async def body() -> None:
        dev = serving_code(tmp_path, sin("sleeps"), DEV)
        async with story(tmp_path, dev, timeout="1h") as told:
            await held(told, tmp_path)
            await told.answered([[0]])
            await wait_until_async(lambda: told.world.slot(DEV).queue_rows == 1)
            told.shadows.close()
            await asyncio.wait_for(told.world.slot(DEV).drained(), 60.0)
            await told.answered()  # is nobody's business any more

    within(body)


def test_a_comparison_that_fails_costs_neither_a_row_nor_the_next_copy(tmp_path: Path) -> None:
    async def body() -> None:
        async with story(tmp_path, constant(tmp_path, 2, DEV)) as told:
            exchange, answer = await foreign(told, b"[[1]]")
            broken = Answer(b"[1,2", b"", b"", 0, answer.serving)
            told.shadows.offer(exchange, broken)
            await told.answered()
            await told.ended(ok=2)
            assert len(told.copies()) == 2
            assert [one["rows"] for one in told.status["agreement"]] == [1]

    within(body)


def test_the_metrics_show_the_present_pair_and_nothing_of_a_former_one(tmp_path: Path) -> None:
    async def body() -> None:
        async with story(tmp_path, constant(tmp_path, 2, DEV)) as told:
            value = told.world.metrics.registry.get_sample_value
            pair = {"branch": "dev", "served": "prod"}
            told.shadows.gauge()
            assert value("gateway_shadow_compared_rows", pair) is None
            await told.answered([[1]] * 3)
            await told.ended(ok=1)
            told.shadows.gauge()
            assert value("gateway_shadow_compared_rows", pair) == 3
            assert value("gateway_shadow_agreement_ratio", pair) == 0
            assert value("gateway_shadow_score_difference_ratio", pair) is None
            await told.world.settled(constant(tmp_path, 1, DEV))
            told.shadows.gauge()
            assert value("gateway_shadow_compared_rows", pair) is None
            await told.answered()
            await told.ended(ok=2)
            told.shadows.gauge()
            assert value("gateway_shadow_agreement_ratio", pair) == 1

    within(body)


def test_only_a_shadows_workers_yield_the_processor(tmp_path: Path) -> None:
    async def body() -> None:
        async with story(tmp_path, constant(tmp_path, 2, DEV)) as told:
            pids = {b: told.world.state(b)["workers"][0]["pid"] for b in (PROD, DEV)}
            nice = {b: os.getpriority(os.PRIO_PROCESS, pid) for b, pid in pids.items()}
            here = os.getpriority(os.PRIO_PROCESS, 0)
            assert nice == {PROD: here, DEV: min(19, here + 10)}

    within(body)


#: Loads once; a second worker of it never does.
LOADS_ONCE = """
import os, pathlib, time
mark = pathlib.Path({mark!r})
while mark.exists():
    time.sleep(0.01)
mark.touch()
def predict(model, instances): os.kill(os.getpid(), 9)
"""


def test_a_copy_that_a_worker_died_on_is_recorded_though_no_other_came_in_time(
    tmp_path: Path,
) -> None:
    async def body() -> None:
        mark = tmp_path / "mark"
        dev = serving_code(tmp_path, LOADS_ONCE.format(mark=str(mark)), DEV)
        async with story(tmp_path, dev, timeout="3s") as told:
            asked = await told.answered()
            await told.ended(timeout=1)
            (record,) = told.copies()
            assert (record.request_id, record.status) == (asked.request_id, "timeout")
            mark.unlink()

    within(body)


WAITS = """
import pathlib, time
gate = pathlib.Path({gate!r})
pathlib.Path({begun!r}).touch()
while not gate.exists():
    time.sleep(0.01)
def predict(model, rows): return [0 for _ in rows]
"""


def test_a_shadow_that_yields_the_processor_has_longer_to_load(tmp_path: Path) -> None:
    async def body() -> None:
        patience = Patience(load=0.5, shadow_load=60.0)
        gate, begun = tmp_path / "gate", tmp_path / "begun"
        code = WAITS.format(gate=str(gate), begun=str(begun))
        async with running(tmp_path, branches=config().branches, patience=patience) as world:
            world.fleet.offer(serving_code(tmp_path, code, DEV))
            await wait_until_async(begun.exists)
            # Begun later, it has had its time before the shadow's is over.
            assert (await world.settled(serving_code(tmp_path, code)))["quarantined"]
            assert world.state(DEV)["loading"]
            gate.touch()
            await wait_until_async(lambda: world.slot(DEV).ready)

    within(body)
