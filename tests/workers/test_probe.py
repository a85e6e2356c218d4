"""What a new model must answer before it serves."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from workers.fleets import running, sin, snapshot

from gateway.errors import ProbeError
from gateway.workers.probe import agrees, check_reference

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
        ({"reference": {"n": 3}}, "unprobed"),
        ({"reference": {"n": 1, "columns": [], "examples": [[1, 2]]}}, "examples"),
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


AGE: dict[str, Any] = {"name": "age", "kind": "numeric", "edges": [20], "counts": [1, 1]}
PLAN: dict[str, Any] = {"name": "plan", "kind": "categorical", "values": ["a"], "counts": [2]}


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"columns": {}}, "Expected `array`, got `object` - at `$.columns`"),
        ({"columns": [AGE]}, "missing required field `n`"),
        ({"columns": [], "n": 0}, "n must be at least 1. Given: 0"),
        ({"columns": [AGE], "schema_version": 2}, "schema_version must be 1. Given: 2"),
        ({"columns": [AGE, AGE]}, "column 'age' stands there twice"),
        ({"columns": [AGE | {"kind": "tall"}]}, "Invalid enum value 'tall'"),
        ({"columns": [AGE | {"edges": [2, 2], "counts": [1, 1, 0]}]}, "must be strictly increas"),
        (
            {"columns": [AGE | {"counts": [2]}]},
            "'age': counts must be len(edges) + 1 = 2. Given: 1",
        ),
        ({"columns": [AGE | {"counts": [1, 2]}]}, "must add up to n = 2. Given: 3"),
        ({"columns": [AGE | {"missing": -1, "counts": [2, 1]}]}, "counts must not be negative"),
        ({"columns": [AGE | {"min": 3, "max": 2}]}, "min must be at most max. Given: 3 and 2"),
        ({"columns": [AGE | {"sd": -1}]}, "sd must be a finite number of at least 0. Given: -1"),
        ({"columns": [PLAN | {"values": ["a", "b"]}]}, "counts must be len(values) = 2. Given: 1"),
        ({"columns": [PLAN | {"values": [1]}]}, "column 'plan': values must be texts"),
        ({"columns": [AGE], "id": "sha256:0"}, "id must be the digest of the content"),
        ({"columns": [AGE], "examples": [[1]] * 21}, "examples must be at most 20. Given: 21"),
    ],
)
def test_a_reference_that_is_none_is_named_with_its_mistake(
    tmp_path: Path, profile: dict[str, Any], words: str
) -> None:
    profile = profile if "required field" in words else {"n": 2} | profile
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "reference.json").write_text(json.dumps(profile))
    with pytest.raises(ProbeError) as raised:
        check_reference(tmp_path, None)
    assert raised.value.where == "metrics/reference.json"
    assert words in raised.value.message


NAMED = """
class Sum:
    feature_names_in_ = ["age", "plan"]

    def predict(self, rows):
        return rows.sum(axis=1)


def load(root):
    return Sum()
"""


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ([AGE, PLAN], None),
        ([AGE, PLAN, PLAN | {"name": "__prediction__"}], None),
        ([PLAN, AGE], "column 0 must be 'age', as in the model. Given: 'plan'"),
        ([AGE], "must have the model's 2 columns, in its order. Given: 1"),
    ],
)
def test_a_reference_must_have_the_columns_of_the_loaded_model(
    tmp_path: Path, columns: list[dict[str, Any]], words: str | None
) -> None:
    state = settled(tmp_path, {"reference": {"n": 2, "columns": columns}}, NAMED)
    if words is None:
        assert state["serving"] is not None
    else:
        assert state["state"] == "failed"
        assert f"metrics/reference.json: {words}" in state["reason"]


def test_a_wrong_reference_keeps_the_old_model_and_tells_its_author(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(snapshot(tmp_path, {"src/serve.py": SUMS}))
            wrong = json.dumps({"n": 2, "columns": [AGE | {"counts": [1, 2]}]})
            state = await world.settled(
                snapshot(tmp_path, {"src/serve.py": SUMS, "metrics/reference.json": wrong})
            )
            assert state["quarantined"] is not None
            assert await world.ask([[1, 2]]) == [3]
            said = "metrics/reference.json: column 'age': counts, other, missing and invalid must"
            assert any(said in str(decision) for decision in world.decisions)
            assert any(said in log[4] for log in world.logs)

    asyncio.run(story())


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
