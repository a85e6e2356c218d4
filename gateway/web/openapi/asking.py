"""Predictions, outcomes and the experiment: what clients of a model ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.config import Config
from gateway.experiments.feedback import MOST_ITEMS
from gateway.web.deadline import NAME as DEADLINE
from gateway.web.openapi.operations import (
    JSON,
    PERHAPS,
    PROVENANCE,
    Operation,
    answer,
    branch_parameter,
    failure,
    named,
)
from gateway.web.openapi.schemas import REQUEST_ID, ref
from gateway.web.overrides import HEADER

REQUEST = "01a20a9f-29ba-79d5-80dc-5fa64189782e"
COMMIT = "2f1d9c0c6a3b5c3f6f0e8f5b1a7d4e9c8b7a6f5e"


def predict(config: Config) -> Operation:
    """POST /predict."""
    asked = {
        "name": HEADER,
        "in": "header",
        "required": False,
        "description": "A branch that is to answer, whoever the user is: an override, recorded as"
        " one and no part of experiments. Needs the scope `override` as well.",
        "schema": {"type": "string"},
    }
    query = {**asked, "name": "branch", "in": "query", "description": "The same."}
    return _predict(
        config,
        name="predict",
        summary="Predict rows",
        description="The user is given a branch by weight, always the same one for as long as the"
        " weights stand, and that branch's model answers. Where it cannot, the baseline does.",
        more=(asked, query),
    )


def predict_by(config: Config) -> Operation:
    """POST /branches/{branch}/predict."""
    return _predict(
        config,
        name="predict_by",
        summary="Predict rows by a branch of one's choice",
        description="An override: that branch answers or nobody, whoever the user is. Recorded as"
        " one, and no part of experiments.",
        more=(branch_parameter(config),),
    )


def _predict(
    config: Config, *, name: str, summary: str, description: str, more: tuple[dict[str, Any], ...]
) -> Operation:
    said = {
        "predictions": [0],
        "probabilities": [[0.98, 0.02]],
        "request_id": REQUEST,
        "branch": str(config.baseline),
        "commit": COMMIT,
    }
    return Operation(
        id=name,
        tag="Predictions",
        summary=summary,
        description=description,
        parameters=(*more, *_units(config), _deadline()),
        body={
            "description": f"JSON, at most {config.limits.body_bytes} bytes.",
            "required": True,
            "content": {
                JSON: {
                    "schema": ref("Predict"),
                    "examples": named({"a row": {"instances": [[17.99, 10.38, 122.8]]}}),
                }
            },
        },
        answers={
            "200": answer(
                "Predictions, and who made them.",
                "Predictions",
                {"a row": said},
                headers=PROVENANCE,
                links=_links(config),
            ),
            **_predict_refusals(config),
        },
    )


def _predict_refusals(config: Config) -> dict[str, Any]:
    bytes_, rows = config.limits.body_bytes, config.limits.rows
    return {
        "400": failure(
            "400",
            f"The body is not of this form, or the header {DEADLINE} is no number.",
            'instances is empty. Send {"instances": [[…], …]} or {"instances":'
            ' [{"column": value, …}, …]}',
            "instances",
            headers=PERHAPS,
        ),
        "404": failure(
            "404",
            "A branch is asked for by a name that none has.",
            "no branch 'x' is served; there are: prod, ab-test-210323",
            f"header {HEADER}",
            headers=PERHAPS,
        ),
        "413": failure(
            "413",
            f"More than {bytes_} bytes or {rows} rows.",
            f"at most {rows} instances in one request. Given: {rows + 1}",
            "instances",
            headers=PERHAPS,
        ),
        "422": failure(
            "422",
            "The branch's model cannot use these rows: their width, names or values.",
            "a row has 3 values. Given: 2",
            "instances[0]",
            headers=PERHAPS,
        ),
        "500": failure(
            "500",
            "The baseline's model failed at these rows, or the gateway did.",
            "the model raised ValueError",
            str(config.baseline),
            kind="model_error",
            headers=PERHAPS,
        ),
        "503": failure(
            "503",
            "The baseline is not loaded, or has more to do than may wait.",
            "no worker is loaded",
            str(config.baseline),
            headers=PERHAPS,
        ),
        "504": failure(
            "504",
            f"No answer within the branch's `timeout`, or the request's own {DEADLINE}.",
            "no answer within 2 s",
            str(config.baseline),
            headers=PERHAPS,
        ),
    }


def _units(config: Config) -> Iterator[dict[str, Any]]:
    places = {"header": "header", "cookie": "cookie"}
    example = True
    for source in config.unit:
        if place := places.get(source.kind):
            yield {
                "name": source.key,
                "in": place,
                "required": False,
                "description": "The user's id, as a source of `unit` in gateway.yaml. Without any,"
                " the request is a user of its own and no part of experiments.",
                "schema": {"type": "string"},
                **({"example": "ada"} if example else {}),
            }
            example = False


def _deadline() -> dict[str, Any]:
    return {
        "name": DEADLINE,
        "in": "header",
        "required": False,
        "description": "Milliseconds that the caller waits: an answer in time, or none.",
        "schema": {"type": "string", "pattern": "^0{0,5}[1-9][0-9]{0,9}$"},
    }


def _links(config: Config) -> dict[str, Any]:
    request_id = "$response.body#/request_id"
    links: dict[str, Any] = {
        "outcomes": {
            "operationId": "outcomes",
            "description": "What became of it.",
            "parameters": {"request_id": request_id},
        }
    }
    if metrics := taking_outcomes(config):
        links["feedback"] = {
            "operationId": "feedback",
            "description": "Say what became of it.",
            "requestBody": {"request_id": request_id, "metric": metrics[0], "value": 1},
        }
    return links


def taking_outcomes(config: Config) -> list[str]:
    """Metrics that outcomes can be sent of."""
    return [metric.name for metric in config.measured if not metric.built_in]


def feedback(config: Config) -> Operation:
    """POST /feedback."""
    examples, answers = _feedback_examples(config)
    judged = {"schema": {"anyOf": [ref("Judged"), ref("JudgedItems")]}, "examples": named(answers)}
    return Operation(
        id="feedback",
        tag="Outcomes",
        summary="Say what became of predictions",
        description="An outcome is recorded before it is answered. To send it again is safe: each"
        " counts once. `null` says the same as leaving a field out.",
        body={
            "description": f"JSON, at most {config.limits.body_bytes} bytes.",
            "required": True,
            "content": {
                JSON: {
                    "schema": {
                        "anyOf": [ref("FeedbackItem"), ref("FeedbackItems"), ref("AnyItem")]
                    },
                    "examples": named(examples),
                }
            },
        },
        answers={
            "202": {
                "description": "What was taken, item by item.",
                "content": {JSON: judged},
            },
            "400": failure(
                "400", "The body is neither an item nor items.", "the body is empty", "body"
            ),
            "413": failure(
                "413",
                f"More than {MOST_ITEMS} items, or too many bytes.",
                f"at most {MOST_ITEMS} items in one request. Given: {MOST_ITEMS + 1}",
                "items",
            ),
            "503": failure(
                "503",
                "There is no room to record it: send it again.",
                "the journal is full",
                "monitoring.journal_bytes",
            ),
        },
    )


def _feedback_examples(config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is sent, and what that is answered."""
    names = taking_outcomes(config)
    if not names:
        return {}, {}
    item = {"request_id": REQUEST, "metric": names[0], "value": 1}
    judged = {"request_id": REQUEST, "row": 0, "metric": names[0], "status": "accepted"}
    wrong = "value, label: must be exactly one of the two. Given: neither"
    return (
        {
            "one outcome": item,
            "two rows": {"items": [item, {**item, "row": 1, "value": 0}]},
        },
        {
            "one outcome": judged,
            "two rows": {"items": [judged, {**judged, "row": 1}]},
            "one that says nothing": {**judged, "status": "invalid", "reason": wrong},
        },
    )


def outcomes() -> Operation:
    """GET /feedback/{request_id}."""
    found = {
        "request_id": REQUEST,
        "items": [
            {
                "row": 0,
                "metric": "reward",
                "status": "accepted",
                "ts": "2026-11-23T10:00:00.000Z",
                "value": 1.0,
                "branch": "prod",
                "duplicates": 0,
            }
        ],
    }
    none = "no outcome of this request is known; one is shown about a second after it was sent"
    nothing = {"request_id": REQUEST, "items": [], "note": none}
    return Operation(
        id="outcomes",
        tag="Outcomes",
        summary="What became of a request's outcomes",
        description="A request that nothing was said of has none, whether it was made or not.",
        parameters=(
            {
                "name": "request_id",
                "in": "path",
                "required": True,
                "description": "As it stands in the answer of POST /predict.",
                "schema": {"type": "string", "pattern": REQUEST_ID},
                "example": REQUEST,
            },
        ),
        answers={
            "200": answer("All that is known.", "Outcomes", {"one": found, "none yet": nothing}),
            "400": failure(
                "400",
                "That is no request id.",
                "a request id is a lower-case UUIDv7. Given: 'x'",
                "request_id",
            ),
        },
    )


def experiment(config: Config) -> Operation:
    """GET /experiment."""
    nothing = {
        "written": "2026-11-23T10:00:00.000Z",
        "baseline": str(config.baseline),
        "salt": config.salt,
        "epoch": "3f9a1c0b7d2e",
        "contrasts": [],
        "feedback": {"accepted": 0, "late": 0, "duplicate": 0, "unknown": 0, "waiting": 0},
        "excluded": {},
        "allocation": {},
        "trouble": "the monitor has not written a read-out yet",
        "warnings": [],
    }
    return Operation(
        id="experiment",
        tag="Outcomes",
        summary="Which branch is better, and how sure that is",
        description="Always-valid: it may be asked at any time and as often as one likes.",
        parameters=(
            {
                "name": "candidate",
                "in": "query",
                "required": False,
                "description": "Only what is said of this branch.",
                "schema": {"type": "string"},
            },
        ),
        answers={
            "200": answer("The read-out.", "ExperimentReadout", {"nothing yet": nothing}),
            "404": failure(
                "404",
                "There is no such candidate.",
                "no candidate 'x'; there are: ab-test-210323",
                "?candidate",
            ),
        },
    )
