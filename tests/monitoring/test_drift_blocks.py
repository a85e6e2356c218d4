"""From recorded requests to columns of values: every shape of row, whatever is in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from chunkfiles import header, request, schema
from driftchunks import profile
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chunks import Header, Request, Schema
from gateway.monitoring.drift.blocks import (
    BATCH_ROWS,
    Batch,
    Block,
    block_of,
    columns_of,
    input_names,
)
from gateway.statistics.reference import LATENCY, PREDICTION, SCORE
from gateway.statistics.window import Bins, Window

NAMES = ("age", "plan")


def block(
    instances: Sequence[Any] | None,
    names: Sequence[str] | None = NAMES,
    head: dict[str, Any] | None = None,
    **changes: Any,
) -> Block:
    """A request of these rows, as it is after the journal; bytes are JSON already."""
    rows = len(instances) if instances is not None else changes.get("rows", 1)
    texts = [one.decode() if isinstance(one, bytes) else json.dumps(one) for one in instances or ()]
    fields = request(
        1,
        instances=None,
        **{
            "rows": rows,
            "predictions": [1] * rows,
            "probabilities": [[0.25, 0.75]] * rows,
            **changes,
        },
    )
    line = json.dumps(fields)[:-1]
    if instances is not None:
        line += f', "instances": [{",".join(texts)}]'
    described = schema(list(names) if names is not None else None, [0, 1])
    return block_of(
        msgspec.json.decode(line + "}", type=Request),
        msgspec.json.decode(json.dumps(described), type=Schema),
        msgspec.json.decode(json.dumps(header(**head or {})), type=Header),
    )


def inputs(found: Block, names: Sequence[str] = NAMES, hidden: Sequence[str] = ()) -> Any:
    derived = (PREDICTION, SCORE, LATENCY)
    columns = columns_of([found], names, hidden)
    return {name: list(values) for name, values in columns.items() if name not in derived}


@pytest.mark.parametrize(
    ("rows", "age", "plan"),
    [
        ([[1, "a"], [2, "b"]], [1, 2], ["a", "b"]),
        ([{"age": 1, "plan": "a"}, {"plan": "b", "age": 2}], [1, 2], ["a", "b"]),
        ([[1, "a"], {"plan": "b", "age": 2}], [1, 2], ["a", "b"]),
        ([{"age": 1, "plan": "a", "more": 7, "__score__": 1}], [1], ["a"]),
        ([{"age": 1}], [1], [None]),
        ([[1, "a", 5], [2], []], [1, 2, None], ["a", None, None]),
        ([7, "x", None], [7, "x", None], [None, None, None]),
        ([[[1, 2], {"x": [1]}]], [[1, 2]], [{"x": [1]}]),
        ([[True, "é\u0000\U0001f40d"]], [True], ["é\u0000\U0001f40d"]),
    ],
)
def test_rows_of_every_shape_become_columns_of_the_models_names(
    rows: list[Any], age: list[Any], plan: list[Any]
) -> None:
    assert inputs(block(rows)) == {"age": age, "plan": plan}


def test_unnamed_values_stand_for_the_references_names_in_their_order() -> None:
    assert inputs(block([[1, "a"]], None)) == {"age": [1], "plan": ["a"]}
    assert inputs(block([{"plan": "a"}], None)) == {"age": [None], "plan": ["a"]}
    assert inputs(block([[1, "a"]], None), ("plan", "age")) == {"plan": [1], "age": ["a"]}


def test_a_column_that_the_model_does_not_have_is_not_counted_at_all() -> None:
    """Not as missing: nothing is known of it."""
    assert inputs(block([{"age": 1, "gone": 2}]), ("gone", "age")) == {"age": [1]}
    assert inputs(block([[1, 2]]), ("gone", "age")) == {"age": [1]}


def test_hidden_columns_are_in_no_form_of_row() -> None:
    head = {"redact": ["plan"]}
    for rows in ([[1, "secret"]], [{"age": 1, "plan": "secret"}], [[1, "secret"], 2]):
        found = inputs(block(rows, head=head, normalised=True), hidden=["plan"])
        assert found == {"age": [row[0] if isinstance(row, list) else row for row in _ages(rows)]}


def _ages(rows: list[Any]) -> list[Any]:
    return [row["age"] if isinstance(row, dict) else row for row in rows]


@pytest.mark.parametrize(
    ("head", "changes"),
    [
        ({"features": "none"}, {}),
        ({"redact": ["plan"]}, {}),  # nobody told its columns apart
        ({}, {"rows": 3}),  # as many rows as it does not have
    ],
)
def test_of_rows_that_may_not_or_cannot_be_looked_at_only_answers_are_counted(
    head: dict[str, Any], changes: dict[str, Any]
) -> None:
    rows = changes.get("rows", 1)
    answered = {"predictions": [1] * rows, "probabilities": [[0.25, 0.75]] * rows}
    found = block([[1, "secret"]], head=head, **{"rows": rows, **answered})
    assert found.instances is None
    columns = columns_of([found], NAMES)
    assert columns == {PREDICTION: [1] * rows, SCORE: [0.75] * rows, LATENCY: [1.25] * rows}


def test_a_failed_request_without_instances_has_no_columns() -> None:
    found = block(None, predictions=None, probabilities=None, latency_ms=None)
    assert columns_of([found], NAMES) == {}


def test_regression_has_no_score_and_lists_are_answers_too() -> None:
    found = block([[1, "a"], [2, "b"]], predictions=[0.5, [1, 2]], probabilities=None)
    columns = columns_of([found], NAMES)
    assert columns[PREDICTION] == [0.5, [1, 2]]
    assert SCORE not in columns


def test_a_score_without_meaning_is_missing_and_others_stay() -> None:
    rows: list[Any] = [[1, "a"]] * 3
    shares = [[0.1, 0.9], "none", [0.2, 0.3, 0.5]]
    columns = columns_of([block(rows, probabilities=shares)], NAMES)
    assert columns[SCORE] == [0.9, None, None]
    with_none = [block(rows, probabilities=shares), block(rows, probabilities=None)]
    assert columns_of(with_none, NAMES)[SCORE] == [0.9, *[None] * 5]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("1e999", float("inf")),
        ("-1e999", float("-inf")),
    ],
)
def test_numbers_beyond_all_bounds_cost_no_other_value(text: str, value: float) -> None:
    found = block([f'[{text}, "a"]'.encode(), [2, "b"]])
    assert inputs(found) == {"age": [value, 2], "plan": ["a", "b"]}
    bins = Bins(profile({"age": [1.0, 2.0] * 30, "plan": ["a", "b"] * 30}))
    window = Window(bins)
    batch = Batch(window, NAMES, (), "w")
    batch.add(found)
    batch.flush()
    assert window.columns["plan"].counted == 2
    assert window.columns["age"].n == 2


def test_a_number_of_more_digits_than_anybody_reads_leaves_its_row_empty() -> None:
    found = block([b'[%b, "a"]' % (b"1" * 5000), [2, "b"]])
    assert inputs(found) == {"age": [None, 2], "plan": [None, "b"]}


def test_a_unit_is_its_hash_and_without_one_each_request_is_a_unit() -> None:
    assert block([[1, "a"]], unit="00000000000000ff").unit == 255
    assert block([[1, "a"]], unit="ffffffffffffffff").unit == 2**64 - 1
    alone = [block([[1, "a"]], unit=None, request_id=f"r{n}").unit for n in (1, 2, 1)]
    assert alone[0] == alone[2] != alone[1]
    assert all(0 <= unit < 2**64 for unit in alone)


def test_inputs_are_called_as_the_model_says_or_as_its_rows_do() -> None:
    assert input_names(block([[1, "a"]])) == NAMES
    assert input_names(block([{"b": 1, "a": 2, PREDICTION: 3}], None)) == ("b", "a")
    assert input_names(block([[1, 2, 3]], None)) == ("0", "1", "2")
    assert input_names(block([5], None)) == ("0",)


def counted(window: Window) -> Any:
    columns = {name: counts.state() for name, counts in window.columns.items()}
    return window.rows, window.units.state(), window.writers, columns


SHAPES = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-3, 3), st.text(max_size=1)), max_size=3),
    st.dictionaries(st.sampled_from(["age", "plan", "x"]), st.integers(0, 3), max_size=3),
    st.integers(0, 3),
)
REQUESTS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.lists(SHAPES, min_size=1, max_size=3)),
        st.sampled_from([NAMES, None, ("plan", "age")]),
        st.booleans(),
        st.sampled_from([None, 1.5]),
        st.integers(0, 5),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(REQUESTS)
def test_counting_together_equals_counting_one_by_one(found: list[Any]) -> None:
    bins = Bins(
        profile(
            {"age": [0, 1] * 9, "plan": ["a", "b"] * 9, PREDICTION: [0, 1] * 9, SCORE: [0] * 18}
        )
    )
    blocks = [
        block(
            instances,
            names,
            latency_ms=latency,
            unit=f"{unit:016x}",
            **({} if answered else {"predictions": None, "probabilities": None}),
        )
        for instances, names, answered, latency, unit in found
    ]
    together, apart = Window(bins), Window(bins)
    batch = Batch(together, NAMES, (), "w")
    for one in blocks:
        batch.add(one)
        single = Batch(apart, NAMES, (), "w")
        single.add(one)
        single.flush()
    batch.flush()
    assert counted(together) == counted(apart)


def test_a_request_of_many_rows_is_counted_at_once_and_is_one_unit() -> None:
    window = Window(Bins(profile({"age": [0, 1] * 9, "plan": ["a", "b"] * 9})))
    batch = Batch(window, NAMES, (), "w")
    batch.add(block([[row % 2, "a"] for row in range(BATCH_ROWS + 1)]))
    assert (window.rows, window.units.count) == (BATCH_ROWS + 1, 1)
    assert window.columns["age"].cells.tolist()[:2] == [513, 512]
