"""What is sent as an outcome is judged item by item, and what is wrong is said by its field."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gateway.chunks import Outcome, Record
from gateway.config.experiment import DEFAULTS
from gateway.errors import BodyTooLarge, GatewayError, UnreadableBody
from gateway.experiments.feedback import AHEAD, LABEL_BYTES, MOST_ITEMS, Judged, items_in, judge
from gateway.experiments.metrics import MOST_VALUE, Metric, built_in
from gateway.names import RequestId
from gateway.timestamps import rfc3339

NOW = 1_795_000_000.0
METRICS = {
    metric.name: metric
    for metric in (
        *DEFAULTS,
        Metric("conversion", "binary", "primary", window=3600.0),
        built_in("error_rate"),
    )
}


def made(seconds: float) -> str:
    """The id of a request that was made so many seconds before now."""
    return str(RequestId.build(round((NOW - seconds) * 1000), 7))


def judged(item: Any) -> tuple[Judged, Outcome | None]:
    raw = item.encode() if isinstance(item, str) else json.dumps(item).encode()
    return judge(msgspec.Raw(raw), METRICS, NOW)


def outcome_of(item: Any) -> Outcome:
    """The outcome of an item that is right, as it comes out of the journal again."""
    told, outcome = judged(item)
    assert told.status == "accepted", told
    assert outcome is not None
    line = msgspec.json.encode(outcome)
    assert b"\n" not in line
    read = msgspec.json.decode(line, type=Record)
    assert read == outcome
    assert isinstance(read, Outcome)
    return read


def item_of(**fields: Any) -> dict[str, Any]:
    return {"request_id": made(1), **fields}


@pytest.mark.parametrize(
    ("metric", "given", "kept"),
    [
        ("conversion", True, 1.0),
        ("conversion", False, 0.0),
        ("conversion", 1, 1.0),
        ("conversion", 0.0, 0.0),
        ("reward", 12.5, 12.5),
        ("reward", -3, -3.0),
        ("reward", True, 1.0),
        ("reward", int(MOST_VALUE), MOST_VALUE),
        ("accuracy", False, 0.0),
    ],
)
def test_a_value_is_a_number_or_true_or_false(metric: str, given: Any, kept: float) -> None:
    found = outcome_of(item_of(metric=metric, value=given))
    assert (found.value, type(found.value), found.label) == (kept, float, None)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ('{"b": 1, "a": [true]}', '{"a":[true],"b":1}'),
        ('"caf\\u00e9"', '"café"'),
        (" 1 ", "1"),
        ("0", "0"),
        ("false", "false"),
        ('""', '""'),
    ],
)
def test_a_label_is_any_json_and_is_kept_in_one_form(one: str, same: str) -> None:
    kept = []
    for text in (one, same):
        found = outcome_of(f'{{"request_id": "{made(1)}", "metric": "accuracy", "label": {text}}}')
        assert found.value is None
        kept.append(found.label)
    assert kept == [same, same]


def test_row_and_time_are_kept_and_null_says_nothing() -> None:
    found = outcome_of(
        item_of(metric="reward", value=1, row=3, ts="2026-11-23T12:00:00+02:00", label=None)
    )
    assert (found.row, found.sent) == (3, "2026-11-23T10:00:00.000Z")
    assert (found.ts, found.late) == (rfc3339(NOW), False)
    plain = outcome_of(item_of(metric="reward", value=1, row=None, ts=None))
    assert (plain.row, plain.sent) == (0, None)


@pytest.mark.parametrize(
    ("age", "status"), [(3600.0, "accepted"), (3600.002, "late"), (90_000.0, "late")]
)
def test_an_outcome_is_late_after_the_window_of_its_metric(age: float, status: str) -> None:
    told, outcome = judged({"request_id": made(age), "metric": "conversion", "value": 1})
    assert told.status == status
    assert outcome is not None  # a late one is recorded too, and counts as late
    assert outcome.late == (status == "late")
    assert (told.reason is None) == (status == "accepted")


def test_clocks_may_differ_by_a_minute_and_no_more() -> None:
    item = {"metric": "reward", "value": 1}
    assert judged({**item, "request_id": made(-AHEAD)})[0].status == "accepted"
    told, outcome = judged({**item, "request_id": made(-AHEAD - 0.001)})
    assert (told.status, outcome) == ("invalid", None)
    assert (told.reason or "").startswith("request_id: must be of an answer before 2026-")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"request_id": None}, "request_id: must be the request_id of an answer, a lower-case"),
        ({"request_id": 7}, "request_id: must be the request_id of an answer"),
        ({"request_id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}, "request_id: must be the"),
        ({"request_id": "ffffffff-ffff-7000-8000-000000000000"}, "request_id: must be of an ans"),
        ({"row": -1}, "row: must be a whole number from 0 to 2147483647. Given: -1"),
        ({"row": 2**31}, "row: must be a whole number"),
        ({"row": True}, "row: must be a whole number"),
        ({"row": 1.0}, "row: must be a whole number"),
        ({"row": "1"}, 'row: must be a whole number from 0 to 2147483647. Given: "1"'),
        ({"metric": None}, "metric: must be one of accuracy, reward, conversion. Given: nothing"),
        ({"metric": "revenue"}, 'metric: must be one of accuracy, reward, conversion. Given: "re'),
        ({"metric": ["reward"]}, "metric: must be one of"),
        ({"metric": "error_rate"}, "metric: error_rate takes no outcomes, since the gateway tel"),
        ({"metric": "timeout_rate"}, "metric: timeout_rate takes no outcomes"),
        ({"value": None}, "value, label: must be exactly one of the two. Given: neither"),
        ({"label": "x"}, "value, label: must be exactly one of the two. Given: both"),
        ({"value": "10"}, "value: must be a number from -2147483648 to 2147483648, or true or fa"),
        ({"value": MOST_VALUE * 1.001}, "value: must be a number from -2147483648"),
        ({"value": -(10**400)}, "value: must be a number from -2147483648"),
        ({"value": [1]}, "value: must be a number"),
        ({"metric": "conversion", "value": 2}, "value: must be true or false, or 1 or 0, as"),
        ({"metric": "conversion", "value": 0.5}, "value: must be true or false"),
        ({"metric": "conversion", "value": "yes"}, "value: must be true or false"),
        ({"value": None, "label": "x"}, "label: a label goes with a metric of kind ratio, and re"),
        (
            {"ts": "yesterday"},
            "ts: must be a time since 1970 in RFC 3339 with its zone, such as 2026-11-23T",
        ),
        ({"ts": "2026-11-23T10:00:00"}, "ts: must be a time since 1970 in RFC 3339 with its zone"),
        ({"ts": "0001-01-01T00:00:00+23:00"}, "ts: must be a time"),
        ({"ts": "9999-12-31T23:59:59-23:00"}, "ts: must be a time"),
        ({"ts": "1969-12-31T23:59:59Z"}, "ts: must be a time"),
        ({"ts": 1795000000}, "ts: must be a time"),
        ({"user": "ada"}, '"user" is no field of an item; there are request_id, row, metric, va'),
        ({"x" * 5000: 1}, '"xxxxx'),
    ],
)
def test_what_is_wrong_is_said_by_its_field(change: dict[str, Any], words: str) -> None:
    right = {"request_id": made(1), "metric": "reward", "value": 1}
    told, outcome = judged({**right, **change})
    assert (told.status, outcome) == ("invalid", None)
    assert (told.reason or "").startswith(words)
    assert len(told.reason or "") < 400
    # What is not at fault is said again, so that the item is found.
    assert "request_id" in change or told.request_id == right["request_id"]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (json.dumps("x" * LABEL_BYTES), f"label: must be at most {LABEL_BYTES} bytes. Given: 4098"),
        ("[" * 65 + "]" * 65, "label: must be nested at most 64 levels deep"),
        ("[" * 900 + "]" * 900, "label: must be nested at most 64 levels deep"),
        ("[" * 1500 + "]" * 1500, "an item must not be nested so deeply"),
        ("[1e999]", "label: must be JSON that can be kept: Number out of range"),
    ],
)
def test_a_label_is_small_flat_and_finite(label: str, words: str) -> None:
    item = f'{{"request_id": "{made(1)}", "metric": "accuracy", "label": {label}}}'
    told, outcome = judged(item)
    assert (told.status, outcome) == ("invalid", None)
    assert (told.reason or "").startswith(words)


@pytest.mark.parametrize("item", ["[]", "7", '"x"', "null", "[[]]", "1e999"])
def test_an_item_that_is_no_object_is_invalid_and_no_error(item: str) -> None:
    told, outcome = judged(item)
    assert (told.status, told.request_id, told.metric, outcome) == ("invalid", None, None, None)
    assert (told.reason or "").startswith(("an item must be an object", "item: must be JSON"))


def test_one_item_or_many() -> None:
    one = b' {"request_id": "x", "metric": "reward", "value": 1}'
    assert [bytes(item) for item in items_in(one)[0]] == [one]
    assert items_in(one)[1] is True
    items, alone = items_in(b'{"items": [{"row": 1}, 7, null]}')
    assert ([bytes(item) for item in items], alone) == ([b'{"row": 1}', b"7", b"null"], False)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", UnreadableBody, "the body is empty"),
        (b"request_id=x", UnreadableBody, "the body is not JSON"),
        (b'{"value": NaN}', UnreadableBody, "the body is not JSON"),
        (b'{"value": "\xff"}', UnreadableBody, "the body is not UTF-8 at byte 11"),
        (b"[1]", UnreadableBody, "Expected `object`, got `array`"),
        (b"{}", UnreadableBody, "the body is neither an item nor items"),
        (b'{"instances": [[1]]}', UnreadableBody, "the body is neither an item nor items"),
        (b'{"items": {}}', UnreadableBody, "Expected `array`, got `object`"),
        (b'{"items": null}', UnreadableBody, "Expected `array`, got `null`"),
        (b'{"items": []}', UnreadableBody, "items is empty"),
        (
            b'{"items": [], "metric": "m"}',
            UnreadableBody,
            'items stand alone. Given beside them: "',
        ),
        (
            b'{"label": ' + b"[" * 5000 + b"]" * 5000 + b"}",
            UnreadableBody,
            "the body is nested too deeply",
        ),
        (b'{"items": [%s]}' % b",".join([b"1"] * (MOST_ITEMS + 1)), BodyTooLarge, "at most 1000 i"),
    ],
)
def test_a_body_that_is_no_envelope_is_refused_whole(
    body: bytes, kind: type[GatewayError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        items_in(body)
    assert caught.value.message.startswith(words)
    assert kind is BodyTooLarge or 'Send {"request_id": …' in caught.value.message
