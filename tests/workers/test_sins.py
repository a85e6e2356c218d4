"""Branch code that misbehaves, each in its own way: contained, and said by name."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until_async
from workers.fleets import (
    DEV,
    PROD,
    QUICK,
    UNCONTAINED,
    World,
    alive,
    constant,
    running,
    serving_code,
    sin,
)

from gateway.config.sections import BranchConfig, Privacy
from gateway.errors import InvalidInstances, ModelError
from gateway.workers.surroundings import Patience


async def loaded(world: World, name: str) -> None:
    state = await world.settled(serving_code(world.folder, sin(name)))
    assert state["state"] == "ready", (state, world.logs)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exits_on_import", "sys.exit(3)"),
        ("dies_on_import", "exited with code 4 while loading"),
        ("raises_on_import", "no_such_module_of_ours"),
        ("hangs_on_import", "did not finish loading within 0.5 s"),
    ],
)
def test_what_cannot_load_is_quarantined_with_the_reason(
    tmp_path: Path, name: str, words: str
) -> None:
    async def story() -> None:
        patience = Patience(load=0.5 if name.startswith("hangs") else 20.0)
        async with running(tmp_path, patience=patience) as world:
            move = serving_code(tmp_path, sin(name))
            state = await world.settled(move)
            assert state["state"] == "failed"
            assert words in state["reason"]
            assert [decision[:3] for decision in world.decisions] == [
                (PROD, move.commit, "quarantined")
            ]
            assert [log[2] for log in world.logs].count("error") == 1

    asyncio.run(story())


def test_a_failed_import_leaves_its_traceback_as_evidence(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(serving_code(tmp_path, sin("raises_on_import")))
            evidence = world.decisions[0][4]
            assert "import no_such_module_of_ours" in evidence["traceback"]
            assert "gateway/workers/runner" not in evidence["traceback"]

    asyncio.run(story())


@pytest.mark.parametrize("marker", ["raise", "exit", "recurse"])
def test_one_row_that_raises_fails_alone_among_32(tmp_path: Path, marker: str) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await loaded(world, "raises_in_predict")
            futures = [world.submit([[marker if i == 17 else i, "x"]]) for i in range(32)]
            answers = await asyncio.gather(*futures, return_exceptions=True)
            assert isinstance(answers.pop(17), ModelError)
            good = [json.loads(a.predictions) for a in answers if not isinstance(a, BaseException)]
            assert good == [[i] for i in range(32) if i != 17]
            assert world.exits("died") == 0

    asyncio.run(story())


def test_a_row_that_kills_the_worker_fails_alone_among_32(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await loaded(world, "killed_in_predict")
            first = world.submit([["before"]])
            futures = [world.submit([["kill" if i == 17 else i]]) for i in range(32)]
            await first
            answers = await asyncio.gather(*futures, return_exceptions=True)
            poison = answers.pop(17)
            assert isinstance(poison, ModelError)
            assert "killed by SIGKILL" in str(poison)
            good = [json.loads(a.predictions) for a in answers if not isinstance(a, BaseException)]
            assert good == [[i] for i in range(32) if i != 17]
            assert world.exits("died") == 2  # once in the batch, once alone

    asyncio.run(story())


def test_prints_reach_the_log_and_not_the_channel(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, launch=UNCONTAINED) as world:
            await loaded(world, "prints_everywhere")
            assert await world.ask([[5]]) == [5]
            wanted = {"while importing", "print", "stderr", "echo", "puts", "one", "two"}
            await wait_until_async(
                lambda: wanted <= {log[4] for log in world.logs if log[3] == "output"},
                describe=lambda: world.logs,
            )
            assert await world.ask([[6]]) == [6]

    asyncio.run(story())


def test_a_flood_of_lines_is_cut_and_counted(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await loaded(world, "floods")
            assert await world.ask([[5]]) == [5]

            def dropped() -> float:
                name = "gateway_branch_output_dropped_lines_total"
                value = world.metrics.registry.get_sample_value(name, {"branch": "prod"})
                return value or 0

            await wait_until_async(lambda: dropped() == 9_900, describe=dropped)
            assert len([log for log in world.logs if log[3] == "output"]) == 100

    asyncio.run(story())


def test_what_is_printed_under_redaction_goes_nowhere(tmp_path: Path) -> None:
    async def story() -> None:
        privacy = Privacy(("ssn",), withhold=True)
        async with running(tmp_path, privacy=privacy, launch=UNCONTAINED) as world:
            await loaded(world, "prints_everywhere")
            assert await world.ask([[5]]) == [5]
            assert [log for log in world.logs if log[3] == "output"] == []

    asyncio.run(story())


def test_zero_false_nothing_and_empty_are_answers(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await loaded(world, "answers_zero")
            rows = [[i] for i in range(7)]
            answer = await world.submit(rows)
            assert answer.predictions == b'[0,false,[],"",null,0.0,{}]'

    asyncio.run(story())


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await loaded(world, "returns_nan")
            answer = await world.submit([[0]] * 4)
            assert json.loads(answer.predictions) == [None, None, None, 1.5]
            assert json.loads(answer.probabilities) == [[None], [None], [None], [1.5]]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("few", "predict returned 1 predictions for 2 instances"),
        ("none", "must return a list of predictions. Given: NoneType"),
        ("text", "must return a list of predictions. Given: str"),
        ("object", "object has no JSON form"),
        ("else", "without 'predictions'"),
    ],
)
def test_an_answer_that_is_none_is_the_models_error(tmp_path: Path, kind: str, words: str) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await loaded(world, "returns_wrong_count")
            with pytest.raises(ModelError, match=words):
                await world.ask([[kind], [kind]])

    asyncio.run(story())


def test_a_fork_cannot_answer_in_the_workers_place(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, launch=UNCONTAINED) as world:
            await loaded(world, "forks")
            left_behind = await world.ask([[1]])
            for _ in range(5):
                assert await world.ask([[1]]) == left_behind
            world.pids.update(left_behind)  # gone with its group, and `running` looks

    asyncio.run(story())


def test_modules_under_our_names_are_the_branchs_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            move = serving_code(tmp_path, sin("shadows_our_names"))
            for name in ("channel", "frames", "rows"):
                (move.root / "src" / f"{name}.py").write_text("OWNER = 'branch'\n")
            assert (await world.settled(move))["state"] == "ready", world.logs
            assert await world.ask([[1]]) == [["branch"] * 3 + [None] * 4]

    asyncio.run(story())


def test_writing_to_every_low_descriptor_does_not_reach_the_channel(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await loaded(world, "writes_to_every_fd")
            assert await world.ask([[1]]) == [1]
            assert await world.ask([[2]]) == [2]
            assert world.exits("died") == 0

    asyncio.run(story())


def test_writing_on_the_channel_ends_that_worker_and_no_other(tmp_path: Path) -> None:
    async def story() -> None:
        branches = {PROD: BranchConfig(), DEV: BranchConfig()}
        async with running(tmp_path, branches=branches) as world:
            await loaded(world, "finds_the_channel")
            await world.settled(constant(tmp_path, 7, DEV))
            with pytest.raises(ModelError, match="wrote on the gateway's channel"):
                await world.ask([[1]])
            assert await world.ask([[1]], DEV) == [7]

    asyncio.run(story())


def test_warnings_and_errors_are_logged_once_a_minute(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await loaded(world, "warns")
            await world.ask([["a"], ["b"]])
            await world.ask([["a"], ["c"]])

            def records() -> list[tuple[str, str, str]]:
                return [log[2:] for log in world.logs if log[3] != "output"]

            await wait_until_async(
                lambda: ("error", "churn", "cannot look up c") in records(), describe=records
            )
            assert records().count(("error", "churn", "always this")) == 1
            assert records().count(("error", "churn", "cannot look up a")) == 1
            assert [r[1] for r in records() if "getting old" in r[2]] == ["py.warnings"]

    asyncio.run(story())


def test_logs_under_redaction_hold_no_values(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, privacy=Privacy(("ssn",), withhold=True)) as world:
            await loaded(world, "warns")
            await world.ask([["123-45-6789"]])
            await wait_until_async(lambda: len(world.logs) >= 2, describe=lambda: world.logs)
            assert "123-45" not in str(world.logs)
            assert any("serve.py:" in log[4] for log in world.logs)

    asyncio.run(story())


def test_errors_under_redaction_hold_no_values(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, privacy=Privacy(("ssn",), withhold=True)) as world:
            await loaded(world, "raises_in_predict")
            with pytest.raises(ModelError) as raised:
                await world.ask([["raise", "123-45-6789"]])
            assert "RuntimeError: the values are withheld" in str(raised.value)
            assert "123-45" not in str(raised.value)

    asyncio.run(story())


def test_a_worker_finds_no_secret_and_no_key_press_in_its_surroundings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_UNIT_KEY", "secret")

    async def story() -> None:
        async with running(tmp_path) as world:
            await loaded(world, "echoes_the_environment")
            answer: Any = await world.ask([[1]])
            environment, folder, ignores_interrupt, path = answer[0]
            assert "GATEWAY_UNIT_KEY" not in environment
            assert environment["OMP_NUM_THREADS"] == "1"
            assert folder == "/"
            assert ignores_interrupt
            assert path[0].endswith("/src")
            assert not any(entry.endswith(("/runner", "/main")) for entry in path)

    asyncio.run(story())


def test_a_request_that_is_not_json_fails_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await loaded(world, "good")
            texts = [b"[[1,2]]", b"[[NaN]]", b"[", b"[[1e999]]", b"7", b"[]", b"[[3,4]]"]
            futures = [world.submit(text) for text in texts]
            answers = await asyncio.gather(*futures, return_exceptions=True)
            refused = [isinstance(answer, InvalidInstances) for answer in answers]
            assert refused == [False, True, True, True, True, True, False]

    asyncio.run(story())


def test_a_dead_worker_is_replaced_ever_more_slowly(tmp_path: Path) -> None:
    patience = Patience(first_wait=0.5, longest_wait=30.0)
    assert [patience.wait(n) for n in (0, 1, 2, 3, 4)] == [0.0, 0.0, 0.5, 1.0, 2.0]
    assert patience.wait(1000) == 30.0

    async def story() -> None:
        async with running(tmp_path, patience=QUICK) as world:
            await loaded(world, "killed_in_predict")
            for deaths in range(1, 4):
                pid = world.state()["workers"][0]["pid"]
                with pytest.raises(ModelError):
                    await world.ask([["kill"]])
                await wait_until_async(lambda: world.slot().ready)
                # Twice each: what was alone with a dying worker is run once more.
                assert world.slot()._seats[0].crew.deaths == 2 * deaths
                assert not alive(pid)
            assert await world.ask([["good"]]) == ["good"]
            assert world.slot()._seats[0].crew.deaths == 0

    asyncio.run(story())
