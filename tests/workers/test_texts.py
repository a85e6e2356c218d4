"""JSON in a child is the same with msgspec and with the standard library alone."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers.runner import texts

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_both_write_the_same_values_and_never_a_number_that_is_not_json(value: Any) -> None:
    fast, slow = texts.encode(value), texts._with_nulls(value)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = [json.loads(text, parse_constant=refuse) for text in (fast, slow)]
    assert read[0] == read[1]
    assert b"\n" not in slow


@given(VALUES)
def test_both_read_what_was_written(value: Any) -> None:
    text = texts.encode(value)
    assert texts.decode(text) == texts._without_constants(text)


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b"-Infinity", b"[1e999]", b"{", b""])
def test_both_refuse_what_is_not_json(text: bytes) -> None:
    for read in (texts.decode, texts._without_constants):
        with pytest.raises(Exception):  # noqa: B017, PT011  each codec has its own error
            read(text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.array([[1.5, math.nan]]), [[1.5, None]]),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(False), False),
        ([np.str_("a"), {"b": np.array([], dtype=float)}], ["a", {"b": []}]),
        ({1}, [1]),
    ],
)
def test_both_write_numpys_values_plainly(value: Any, shown: Any) -> None:
    assert json.loads(texts.encode(value)) == shown
    assert json.loads(texts._with_nulls(value)) == shown
