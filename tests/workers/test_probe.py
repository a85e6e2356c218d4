"""What a new model must answer before it serves."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from workers.fleets import running, sin, snapshot

from gateway.workers.probe import agrees

SUMS = sin("good")


@pytest.mark.parametrize(
    ("wanted", "given", "same"),
    [
        (1, 1.0, True),
        (1.0, 1.0 + 5e-10, True),
        (1.0, 1.0 + 2e-9, False),
        ("a", "a", True),
        ("a", "b", False),
        (1, True, False),
        (None, None, True),
        (0, None, False),
        ([1, 2], [1, 2.0], True),
        ([1, 2], [1], False),
        ("1", 1, False),
    ],
)
def test_numbers_agree_within_the_tolerance_and_labels_exactly(
    wanted: Any, given: Any, same: bool
) -> None:
    assert agrees(wanted, given, 1e-9) is same


def settled(folder: Path, metrics: dict[str, object], code: str = SUMS) -> dict[str, Any]:
    files: dict[str, str | bytes] = {"src/serve.py": code}
    for name, content in metrics.items():
        text = content if isinstance(content, str) else json.dumps(content)
        files[f"metrics/{name}.json"] = text

    async def story() -> dict[str, Any]:
        async with running(folder) as world:
            return await world.settled(snapshot(folder, files))

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("metrics", "by"),
    [
        ({"golden": {"instances": [[1, 2]], "predictions": [3]}}, "golden"),
        ({"golden": {"instances": [[1]], "predictions": [1.4], "tolerance": 0.5}}, "golden"),
        ({"reference": {"examples": [[1, 2], [3, 4]]}}, "examples"),
        ({"reference": {"columns": {}}}, "unprobed"),
        ({}, "unprobed"),
    ],
)
def test_a_model_says_with_what_it_was_probed(
    tmp_path: Path, metrics: dict[str, object], by: str
) -> None:
    assert settled(tmp_path, metrics)["serving"]["probed"] == by


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (
            {"golden": {"instances": [[1], [2]], "predictions": [1, 9]}},
            "1 of 2 predictions differ by more than 1e-09; the first in row 1: must be 9. Given: 2",
        ),
        ({"golden": {"instances": [["x", 1]], "predictions": [1]}}, "its rows are not answered"),
        ({"golden": {"instances": [[1]], "predictions": []}}, "1 instances, 0 predictions"),
        ({"golden": {"instances": [[1]]}}, "missing required field `predictions`"),
        ({"golden": "{"}, "metrics/golden.json: must be"),
        ({"golden": {"instances": [[1]], "predictions": [1], "tolerance": -1}}, "at least 0"),
        ({"reference": {"examples": [["x", 1]]}}, "metrics/reference.json: its rows"),
        ({"reference": "["}, "metrics/reference.json: must be JSON"),
        ({"reference": {"examples": 3}}, "whose examples are a list"),
    ],
)
def test_a_model_that_fails_its_probe_is_quarantined_with_the_reason(
    tmp_path: Path, metrics: dict[str, object], words: str
) -> None:
    state = settled(tmp_path, metrics)
    assert state["state"] == "failed"
    assert words in state["reason"]


def test_a_model_that_dies_of_its_golden_rows_is_quarantined(tmp_path: Path) -> None:
    code = sin("killed_in_predict")
    metrics: dict[str, object] = {"golden": {"instances": [["kill"]], "predictions": [1]}}
    state = settled(tmp_path, metrics, code)
    assert state["state"] == "failed"
    assert "was killed by SIGKILL" in state["reason"]


@pytest.mark.parametrize("marker", ["raise", "kill"])
def test_recent_rows_that_fail_are_reported_and_do_not_quarantine(
    tmp_path: Path, marker: str
) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            echo = "def predict(model, rows): return [row[0] for row in rows]\n"
            await world.settled(snapshot(tmp_path, {"src/serve.py": echo}))
            assert await world.ask([[marker, 1]]) == [marker]
            name = "raises_in_predict" if marker == "raise" else "killed_in_predict"
            state = await world.settled(snapshot(tmp_path, {"src/serve.py": sin(name)}))
            assert state["quarantined"] is None
            assert state["serving"]["probed"] == "recent"
            assert any("a recent request is not answered" in log[4] for log in world.logs)

    asyncio.run(story())
