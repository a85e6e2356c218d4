"""Every shape the document speaks of, by name: from types where there are types."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import msgspec

from gateway.config import Config
from gateway.experiments.document import ExperimentReadout
from gateway.experiments.feedback import LABEL_BYTES, MOST_ITEMS, MOST_ROW
from gateway.experiments.metrics import MOST_VALUE
from gateway.reporting.document import Drift
from gateway.web.openapi.answers import (
    Alive,
    Delivery,
    Failure,
    JudgedItems,
    Operated,
    Outcomes,
    Predictions,
    Readiness,
)
from gateway.web.openapi.standing import GatewayStatus
from gateway.web.openapi.told import RENAMED, TOLD

REQUEST_ID = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

#: Shapes of bodies that are sent; all others are answered.
SENT = ("Predict", "FeedbackItem", "FeedbackItems", "AnyItem", "Hold", "Release")
_ITEM = ("request_id", "row", "metric", "value", "label", "ts")

_ANSWERS = (
    *(Failure, Predictions, JudgedItems, Outcomes, GatewayStatus, ExperimentReadout),
    *(Drift, Alive, Readiness, Delivery, Operated),
)
#: Their readers allow for other versions; what is sent has every field.
_WHOLE = (Drift, ExperimentReadout)


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def schemas(config: Config) -> dict[str, Any]:
    """By name, for these settings: bounds and unit sources are theirs."""
    return {
        "Predict": _predict(config),
        "FeedbackItem": _feedback_item(config),
        "FeedbackItems": _feedback_items(),
        "AnyItem": _any_item(),
        "Hold": _operated("Hold", {"out": {"type": "boolean", "default": False}}),
        "Release": _operated("Release", {}),
        **copy.deepcopy(_answers()),
    }


@cache
def _answers() -> dict[str, Any]:
    _, found = msgspec.json.schema_components(_ANSWERS, ref_template="#/components/schemas/{name}")
    _, whole = msgspec.json.schema_components(_WHOLE, ref_template="#/components/schemas/{name}")
    # As it is in the document, where its defaults are tuples.
    found = msgspec.json.decode(msgspec.json.encode(found))
    for name, schema in found.items():
        for field, part in schema["properties"].items():
            part.pop("default", None)
            if text := TOLD.get(f"{name}.{field}"):
                part["description"] = text
        if name in whole:
            schema["required"] = list(schema["properties"])
    found["Predictions"]["properties"]["request_id"]["pattern"] = REQUEST_ID
    renamed: dict[str, Any] = _renamed(found)
    return renamed


def _renamed(found: Any) -> Any:
    """Names that say what a shape is of, beside all the others."""
    text = msgspec.json.encode(found).decode()
    for old, new in RENAMED.items():
        text = text.replace(f'"{old}":', f'"{new}":').replace(f'/{old}"', f'/{new}"')
        text = text.replace(f'"title":"{old}"', f'"title":"{new}"')
    return msgspec.json.decode(text)


def _predict(config: Config) -> dict[str, Any]:
    units = {
        source.key: {
            "description": "The user's id, as a source of `unit` in gateway.yaml.",
            "type": ["string", "integer", "null"],
        }
        for source in config.unit
        if source.kind == "body"
    }
    return {
        "title": "Predict",
        "description": "Rows to predict. Nested at most 64 levels deep.",
        "type": "object",
        "required": ["instances"],
        "additionalProperties": False,
        "properties": {
            "instances": {
                "type": "array",
                "minItems": 1,
                "maxItems": config.limits.rows,
                "items": {
                    "description": "A row: values in the order of the model's columns, or a record"
                    " by column name, in any order and with any further columns. `null` is a"
                    " missing value. A branch's own src/serve.py may take anything else.",
                    "examples": [[17.99, 10.38, 122.8]],
                },
            },
            **units,
        },
    }


def _feedback_item(config: Config) -> dict[str, Any]:
    names = [metric.name for metric in config.measured if not metric.built_in]
    none = {"type": "null"}
    return {
        "title": "FeedbackItem",
        "description": "What became of one predicted row: a value or a label of a metric.",
        "type": "object",
        "required": ["request_id", "metric"],
        "additionalProperties": False,
        "oneOf": [{"required": ["value"]}, {"required": ["label"]}],
        "properties": {
            "request_id": {
                "description": "As it stands in the answer.",
                "type": "string",
                "pattern": REQUEST_ID,
            },
            "row": {
                "description": "Which of the request's rows; the first one where nothing is said.",
                "type": "integer",
                "minimum": 0,
                "maximum": MOST_ROW,
                "default": 0,
            },
            "metric": {
                "description": "One of `metrics` in gateway.yaml that takes outcomes.",
                "enum": names,
            },
            "value": {
                "description": "Of a binary metric true or false, or 1 or 0.",
                "anyOf": [
                    {"type": "boolean"},
                    {"type": "number", "minimum": -MOST_VALUE, "maximum": MOST_VALUE},
                ],
            },
            "label": {
                "description": "What should have been predicted; a ratio's value is then whether"
                f" that is what was predicted. At most {LABEL_BYTES} bytes as JSON.",
                "not": none,
            },
            "ts": {
                "description": "When it came about, with its offset from UTC.",
                "type": "string",
                "format": "date-time",
            },
        },
    }


def _feedback_items() -> dict[str, Any]:
    return {
        "title": "FeedbackItems",
        "description": f"Up to {MOST_ITEMS} items. Each is judged by itself: one that is no"
        " FeedbackItem is told `invalid` in its place, and the others are taken.",
        "type": "object",
        "required": ["items"],
        "additionalProperties": False,
        "properties": {
            "items": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_ITEMS,
                "items": {"anyOf": [ref("FeedbackItem"), True]},
            }
        },
    }


def _any_item() -> dict[str, Any]:
    return {
        "title": "AnyItem",
        "description": "An object with one of an item's fields, whatever it says: what is no"
        " FeedbackItem is told `invalid`, with the reason.",
        "type": "object",
        "anyOf": [{"required": [name]} for name in _ITEM],
        "not": {"required": ["items"]},
    }


def _operated(title: str, fields: dict[str, Any]) -> dict[str, Any]:
    reason = {"description": "For decisions and the audit.", "type": "string", "default": ""}
    return {
        "title": title,
        "description": "An operator's word.",
        "type": "object",
        "additionalProperties": False,
        "properties": {**fields, "reason": reason},
    }
