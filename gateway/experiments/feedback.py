"""Outcomes as somebody sends them: read, and judged one by one by what can be known at once.

Pure: metrics and time are arguments. Whether there is such a prediction, and whether its outcome
was told before, is found at the join.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from gateway.chunks import Outcome
from gateway.errors import BodyTooLarge, UnreadableBody
from gateway.experiments.metrics import BUILT_IN, MOST_VALUE, Metric
from gateway.names import InvalidName, RequestId
from gateway.timestamps import rfc3339

#: In one request.
MOST_ITEMS = 1000
#: Of a label, as it is kept.
LABEL_BYTES = 4096
#: Seconds that a request may seem to be of the future: clocks are set, and differ.
AHEAD = 60.0
MOST_ROW = 2**31 - 1
#: Levels of arrays and objects in a label, as in a row that is predicted.
DEEPEST = 64
#: What would be right, in every message about a body.
SHAPE = 'Send {"request_id": …, "metric": …, "value": …}, or many of them as {"items": [{…}, …]}'

_FIELDS = ("request_id", "row", "metric", "value", "label", "ts")
_SHOWN = 80

Status = Literal["accepted", "late", "invalid"]
_Kind = TypeVar("_Kind")
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Judged(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an item's sender is told at once. What it lacks, or has of another kind, is None."""

    request_id: str | None
    row: int | None
    metric: str | None
    status: Status
    reason: str | None = None


class OutcomeState(msgspec.Struct, frozen=True):
    """What became of an outcome that was taken in."""

    row: int
    metric: str
    status: Literal["accepted", "late", "duplicate", "unknown", "waiting"]
    ts: str
    value: float | None = None
    #: Which answered; empty while that is not known.
    branch: str = ""
    duplicates: int = 0


class Invalid(ValueError):
    """An item that says nothing: the message names the field, and what would be right."""


def items_in(body: bytes | bytearray) -> tuple[list[msgspec.Raw], bool]:
    """The items of a body as JSON texts, and whether it was a single one by itself.

    Raises UnreadableBody, or BodyTooLarge for more than `MOST_ITEMS`.
    """
    if not body:
        raise UnreadableBody(f"the body is empty. {SHAPE}", where="body")
    fields = _decoded(body, dict[str, msgspec.Raw])
    if "items" not in fields:
        if not fields.keys() & set(_FIELDS):
            raise UnreadableBody(f"the body is neither an item nor items. {SHAPE}", where="body")
        return [msgspec.Raw(bytes(body))], True
    if len(fields) > 1:
        other = next(name for name in fields if name != "items")
        message = f"items stand alone. Given beside them: {_shown(other)}. {SHAPE}"
        raise UnreadableBody(message, where="body")
    items = _decoded(fields["items"], list[msgspec.Raw])
    if not items:
        raise UnreadableBody(f"items is empty. {SHAPE}", where="items")
    if len(items) > MOST_ITEMS:
        message = f"at most {MOST_ITEMS} items in one request. Given: {len(items)}"
        raise BodyTooLarge(message, where="items")
    return items, False


def _decoded(text: bytes | bytearray | msgspec.Raw, kind: type[_Kind]) -> _Kind:
    try:
        str(text, "utf-8")
        return msgspec.json.decode(text, type=kind)
    except UnicodeDecodeError as error:
        message = f"the body is not UTF-8 at byte {error.start}; send it uncompressed. {SHAPE}"
        raise UnreadableBody(message, where="body") from None
    except msgspec.ValidationError as error:
        raise UnreadableBody(f"{error}. {SHAPE}", where="body") from None
    except msgspec.DecodeError as error:
        raise UnreadableBody(f"the body is not JSON: {error}. {SHAPE}", where="body") from None
    except RecursionError:
        raise UnreadableBody(f"the body is nested too deeply. {SHAPE}", where="body") from None


def judge(
    item: msgspec.Raw, metrics: Mapping[str, Metric], now: float
) -> tuple[Judged, Outcome | None]:
    """What the sender is told, and what is to be recorded, if anything is; `now` is Unix time."""
    fields: dict[str, Any] = {}
    try:
        fields = _fields(item)
        outcome, reason = _outcome(fields, metrics, now)
    except Invalid as error:
        return _refused(fields, str(error)), None
    except RecursionError:
        return _refused(fields, "an item must not be nested so deeply"), None
    status: Status = "late" if outcome.late else "accepted"
    return Judged(outcome.request_id, outcome.row, outcome.metric, status, reason), outcome


def _refused(fields: dict[str, Any], reason: str) -> Judged:
    request_id, row, metric = (fields.get(name) for name in ("request_id", "row", "metric"))
    return Judged(
        request_id[:_SHOWN] if isinstance(request_id, str) else None,
        0 if row is None else row if type(row) is int and 0 <= row <= MOST_ROW else None,
        metric[:_SHOWN] if isinstance(metric, str) else None,
        "invalid",
        reason,
    )


def _fields(item: msgspec.Raw) -> dict[str, Any]:
    """The fields of an item; null says the same as leaving one out."""
    try:
        fields = msgspec.json.decode(item)
    except msgspec.MsgspecError as error:
        text = str(error).partition(" - at")[0]
        raise Invalid(f"{_unreadable_in(item)}: must be JSON that can be kept: {text}") from None
    if not isinstance(fields, dict):
        raise Invalid(f"an item must be an object. {SHAPE}. Given: {_shown(fields)}")
    return {name: value for name, value in fields.items() if value is not None}


def _unreadable_in(item: msgspec.Raw) -> str:
    """The field that cannot be decoded, such as 1e999, which is JSON and yet no number here."""
    try:
        for name, value in msgspec.json.decode(item, type=dict[str, msgspec.Raw]).items():
            try:
                msgspec.json.decode(value)
            except msgspec.MsgspecError:
                return name[:_SHOWN]
    except msgspec.MsgspecError:
        pass
    return "item"


def _outcome(
    fields: dict[str, Any], metrics: Mapping[str, Metric], now: float
) -> tuple[Outcome, str | None]:
    for name in fields:
        if name not in _FIELDS:
            raise Invalid(f"{_shown(name)} is no field of an item; there are {_listed(_FIELDS)}")
    request_id = _request_id(fields.get("request_id"), now)
    row = fields.get("row", 0)
    if type(row) is not int or not 0 <= row <= MOST_ROW:
        raise _wrong("row", f"must be a whole number from 0 to {MOST_ROW}", row)
    metric = _metric(fields.get("metric"), metrics)
    if ("value" in fields) == ("label" in fields):
        given = "both" if "value" in fields else "neither"
        raise Invalid(f"value, label: must be exactly one of the two. Given: {given}")
    value = label = None
    if "value" in fields:
        value = _value(fields["value"], metric)
    else:
        label = _label(fields["label"], metric)
    age = now - request_id.milliseconds / 1000
    late = age > metric.window
    reason = None
    if late:
        reason = f"{metric.name} counts for {metric.window:g} s; this came after {age:.0f} s"
    sent = _sent(fields["ts"]) if "ts" in fields else None
    received = rfc3339(now)
    outcome = Outcome(received, str(request_id), metric.name, row, value, label, late, sent)
    return outcome, reason


def _request_id(given: Any, now: float) -> RequestId:
    right = "must be the request_id of an answer, a lower-case UUIDv7"
    if not isinstance(given, str):
        raise _wrong("request_id", right, given)
    try:
        request_id = RequestId(given)
    except InvalidName:
        raise _wrong("request_id", right, given) from None
    if request_id.milliseconds / 1000 > now + AHEAD:
        raise _wrong("request_id", f"must be of an answer before {rfc3339(now)}, now", given)
    return request_id


def _metric(given: Any, metrics: Mapping[str, Metric]) -> Metric:
    if isinstance(given, str) and given in BUILT_IN:
        raise Invalid(
            f"metric: {given} takes no outcomes, since the gateway tells it from the answers"
            f" themselves. Those that do: {_taking(metrics)}"
        )
    metric = metrics.get(given) if isinstance(given, str) else None
    if metric is None:
        raise _wrong("metric", f"must be one of {_taking(metrics)}", given)
    return metric


def _value(given: Any, metric: Metric) -> float:
    if metric.kind == "binary":
        # True and False are 1 and 0 to Python.
        if not isinstance(given, int | float) or given not in (0, 1):
            raise _wrong(
                "value", f"must be true or false, or 1 or 0, as {metric.name} is binary", given
            )
    elif not isinstance(given, int | float) or not abs(given) <= MOST_VALUE:
        right = f"must be a number from {-MOST_VALUE:.0f} to {MOST_VALUE:.0f}, or true or false"
        raise _wrong("value", right, given)
    return float(given)


def _label(given: Any, metric: Metric) -> str:
    """Its one form as JSON text."""
    if metric.kind != "ratio":
        right = f"a label goes with a metric of kind ratio, and {metric.name} is {metric.kind}"
        raise _wrong("label", f"{right}: send a value", given)
    if is_deeper(given, DEEPEST):
        raise Invalid(f"label: must be nested at most {DEEPEST} levels deep. Given: more")
    text = msgspec.json.encode(given, order="sorted")
    if len(text) > LABEL_BYTES:
        raise Invalid(f"label: must be at most {LABEL_BYTES} bytes. Given: {len(text)}")
    return text.decode()


def _sent(given: Any) -> str:
    try:
        seconds = msgspec.convert(given, _Time).timestamp()
        if seconds >= 0:
            return rfc3339(seconds)
    except (msgspec.ValidationError, ValueError, OverflowError):
        pass
    right = "must be a time since 1970 in RFC 3339 with its zone, such as 2026-11-23T10:00:00Z"
    raise _wrong("ts", right, given)


def is_deeper(value: Any, most: int) -> bool:
    """Whether arrays and objects nest more than so many levels deep."""
    if not isinstance(value, dict | list):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return most == 0 or any(is_deeper(part, most - 1) for part in parts)


def _wrong(field: str, right: str, given: Any) -> Invalid:
    return Invalid(f"{field}: {right}. Given: {'nothing' if given is None else _shown(given)}")


def _shown(given: Any) -> str:
    text = msgspec.json.encode(given).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _taking(metrics: Mapping[str, Metric]) -> str:
    return _listed([name for name in metrics if name not in BUILT_IN]) or "none"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
