"""Whatever a library calls a number, a date or nothing, JSON has a word for it."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gateway.plain import clean, plain, plain_values


@pytest.mark.parametrize(
    ("value", "as_json"),
    [
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.array([1, 2]), [1, 2]),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2021-03-01T12:00"), "2021-03-01T12:00:00"),
        (datetime.time(12), "12:00:00"),
        (Decimal("1.5"), 1.5),
        (np.datetime64("2021-03-01"), "2021-03-01"),
        (b"x", "b'x'"),
    ],
)
def test_values_of_libraries_become_those_of_json(value: Any, as_json: Any) -> None:
    assert plain(value) == as_json
    assert type(plain(value)) is type(as_json)
    assert plain_values([value, 1]) == [as_json, 1]


def test_nothing_that_json_cannot_hold_is_left() -> None:
    given = {"a": [math.nan, 1, (math.inf,)], 2: pd.NA, "b": np.float64("nan")}
    assert clean(given) == {"a": [None, 1, [None]], "2": None, "b": None}
