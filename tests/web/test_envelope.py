"""Whatever bytes come, the envelope is rows that are JSON, or a refusal that says what is right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.config import LimitsConfig, UnitSource
from gateway.errors import BodyTooLarge, RequestError, UnreadableBody
from gateway.web.envelope import Envelope
from gateway.web.errors import describe

ROWS = 8
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def envelope(*sources: str) -> Envelope:
    return Envelope([UnitSource(source) for source in sources], LimitsConfig(rows=ROWS))


DEFAULT = envelope("header:X-User-Id", "body:unit", "cookie:uid")


def holds(body: bytes) -> None:
    """The whole promise: a result that can be spliced into a frame and a line, or a 4xx."""
    try:
        payload, rows, units = DEFAULT.parse(body)
    except RequestError as error:
        status, said, _ = describe(error)
        assert 400 <= status < 500
        assert set(json.loads(said)["error"]) == {"type", "message", "where"}
        return
    assert 1 <= rows <= ROWS
    assert len(json.loads(payload, parse_int=str)) == rows
    assert b"\n" not in payload
    assert b"\r" not in payload
    assert set(units) <= {"unit"}
    for unit in units.values():
        assert unit.encode()  # a unit is hashed as UTF-8


@given(st.binary())
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b'{"instances":[1],"unit":' + b"1" * 5000 + b"}")
@example(b'{"instances":[1],"unit":"\\ud800"}')
@example(b'{"instances":[1],"\\ud800":1}')
@example(b'{"instances":[["a\nb"]]}')
@example(b'{"instances":[01]}')
@example(b'{"instances":[1e400]}')
@example(b'{"instances":[' + b"[" * 5000 + b"]" * 5000 + b"]}")
@example(b'{"instances":[' + b"[]," * 200 + b"[[1e400]]]}")
@example(b'{"instances":[[' + b"[]," * 200 + b"[1e400]]]}")
@example(b'{"instances":[[' + b"[]," * 200 + b"1" * 50 + b"]]}")
@example(b'{"instances":[[' + b"[]," * 200 + b"1" * 5000 + b"]]}")
def test_any_bytes_are_rows_or_a_refusal(body: bytes) -> None:
    holds(body)


@given(
    st.lists(VALUES, max_size=ROWS + 2),
    st.none() | VALUES,
    st.sampled_from([None, 0, 1, "\r\n"]),
    st.data(),
)
def test_a_body_cut_or_scribbled_on_is_rows_or_a_refusal(
    instances: list[Any], unit: Any, indent: int | str | None, data: st.DataObject
) -> None:
    body = json.dumps({"instances": instances, "unit": unit}, indent=indent).encode()
    at = data.draw(st.integers(0, len(body)))
    holds(body)
    holds(body[:at])
    holds(body[:at] + data.draw(st.binary(min_size=1, max_size=3)) + body[at + 1 :])


@given(st.lists(VALUES, min_size=1, max_size=ROWS))
def test_the_rows_are_handed_on_as_they_were_given(instances: list[Any]) -> None:
    text = json.dumps({"instances": instances})
    try:
        expected = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    except pytest.fail.Exception:  # NaN and infinities are no JSON
        with pytest.raises(UnreadableBody):
            DEFAULT.parse(text.encode())
        return
    payload, rows, _ = DEFAULT.parse(text.encode())
    assert (json.loads(payload), rows) == (expected["instances"], len(instances))


def test_one_row_more_than_the_limit_is_too_large() -> None:
    body = json.dumps({"instances": [1] * ROWS}).encode()
    assert DEFAULT.parse(body)[1] == ROWS
    with pytest.raises(BodyTooLarge, match=f"at most {ROWS} instances"):
        DEFAULT.parse(json.dumps({"instances": [1] * (ROWS + 1)}).encode())


@pytest.mark.parametrize(
    ("given_unit", "expected"), [("17", "17"), (17, "17"), ("", None), (None, None), (0, "0")]
)
def test_a_unit_in_the_body_is_text_whatever_way_it_is_written(
    given_unit: Any, expected: str | None
) -> None:
    body = json.dumps({"instances": [1], "unit": given_unit}).encode()
    assert DEFAULT.parse(body)[2].get("unit") == expected


def test_two_fields_of_the_body_are_told_apart() -> None:
    both = envelope("body:user id", "body:unit_0")
    body = json.dumps({"instances": [1], "unit_0": "b", "user id": "a"}).encode()
    assert both.parse(body)[2] == {"user id": "a", "unit_0": "b"}


@pytest.mark.parametrize("source", ["body:instances", 'body:a"b', "body:a\\b"])
def test_a_unit_source_that_cannot_be_decoded_is_refused_with_the_file(source: str) -> None:
    """Else every request would be a 500, after `gateway check` said that the file is right."""
    from gateway.config.document import parse_config
    from gateway.errors import ConfigError

    file = {
        "repository": "r",
        "baseline": "prod",
        "branches": {"prod": {"weight": 1}},
        "unit": [source],
    }
    try:
        config = parse_config(json.dumps(file), "gateway.yaml")
    except ConfigError:
        return
    Envelope(config.unit, config.limits)
