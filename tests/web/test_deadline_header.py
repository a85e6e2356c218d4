"""Gateway-Timeout-Ms is a time, nothing at all, or a 400 that says what it must be."""

from __future__ import annotations

import time
from math import inf

import pytest

from gateway.errors import UnusableHeader
from gateway.web.deadline import deadline_in
from gateway.web.errors import describe

OTHERS = [(b"host", b"x"), (b"timeout-ms", b"1"), (b"x-gateway-timeout-ms", b"1")]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        (b"1", 1),
        (b"250", 250),
        (b" \t250 ", 250),
        (b"007", 7),
        (b"999999999999999", 999_999_999_999_999),
    ],
)
def test_a_number_of_milliseconds_is_a_time_from_now(text: bytes, milliseconds: int) -> None:
    before = time.monotonic()
    found = deadline_in([*OTHERS, (b"gateway-timeout-ms", text)])
    rounding = 0.001  # of so large a number
    assert before - rounding <= found - milliseconds / 1000 <= time.monotonic() + rounding


def test_without_the_header_the_caller_waits_for_ever() -> None:
    assert deadline_in(OTHERS) == inf


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        b"000",
        b"-1",
        b"+1",
        b"1.5",
        b"1e3",
        b"1_000",
        b"0x10",
        b"2s",
        b"1 2",
        b"abc",
        b"9" * 16,
        b"9" * 5000,
        "٣".encode(),
        b"\xff",
    ],
)
def test_anything_else_is_refused_with_what_would_be_right(text: bytes) -> None:
    with pytest.raises(UnusableHeader) as refused:
        deadline_in([(b"gateway-timeout-ms", text)])
    status, body, _ = describe(refused.value)
    assert status == 400
    assert b"header Gateway-Timeout-Ms" in body
    assert b"a whole number of milliseconds above 0, such as 250. Given: " in body
    assert len(body) < 300
    if text.isalnum() and len(text) < 10:
        assert b"Given: '%s'" % text in body
