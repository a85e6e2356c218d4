"""Outcomes that a real gateway takes in: what each is told, and what is in the journal by then."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from gitrepo import Remote
from running import Gateway, serve_py
from starlette.requests import Request

from gateway.chunks import Chunk, Outcome
from gateway.config.experiment import DEFAULTS
from gateway.errors import RequestError
from gateway.experiments.feedback import OutcomeState
from gateway.metrics import Metrics
from gateway.names import RequestId
from gateway.recording import Recorder
from gateway.web.feedback import Feedback

DAY = 86_400_000
NOWHERE = "00000000-0000-7000-8000-000000000000"


def start(folder: Path, remote: Remote, gateways: list[Gateway], **monitoring: Any) -> Gateway:
    """One whose chunk stays open, where a test can read it."""
    remote.commit("prod", serve_py("prod"))
    found = Gateway(
        folder,
        remote,
        {"prod": {"weight": 1}},
        monitoring={"flush": "1h", "target": "none", **monitoring},
        limits={"body_bytes": "256KiB"},
    )
    gateways.append(found)
    return found.start()


def post(gateway: Gateway, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{gateway.url}/feedback", content=content, timeout=30)


def journaled(gateway: Gateway) -> list[Outcome]:
    """Every outcome of the chunk that is open."""
    found: list[Outcome] = []
    for path in (gateway.folder / ".gateway" / "journal").glob("*/*.open"):
        with Chunk(path, sealed=False) as chunk:
            found += [record for record in chunk if isinstance(record, Outcome)]
    return found


def reward(request_id: str, value: Any = 1) -> dict[str, Any]:
    return {"request_id": request_id, "metric": "reward", "value": value}


def old(milliseconds: int) -> str:
    return str(RequestId.build(time.time_ns() // 1_000_000 - milliseconds, 5))


def counts(gateway: Gateway) -> dict[str, float]:
    return {
        status: gateway.metric(f'gateway_feedback_items_total{{status="{status}"}}')
        for status in ("accepted", "late", "invalid")
    }


def refusals(gateway: Gateway, reason: str) -> float:
    return gateway.metric(f'gateway_feedback_refused_requests_total{{reason="{reason}"}}')


def test_each_item_of_a_batch_is_told_what_became_of_it_and_spoils_no_other(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path / "g", remote, gateways)
    asked = gateway.predict(((1,), (2,))).json()["request_id"]
    label = {"request_id": asked, "row": 1, "metric": "accuracy", "label": {"b": 1, "a": "é"}}
    begun = time.time()
    sent = [reward(asked, True), {"user": "ada"}, label, 7, reward(old(DAY + 60_000), 2.5)]
    answer = post(gateway, {"items": sent})
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    items = answer.json()["items"]
    assert [item["status"] for item in items] == [
        *("accepted", "invalid", "accepted", "invalid", "late")
    ]
    assert items[0] == {"request_id": asked, "row": 0, "metric": "reward", "status": "accepted"}
    assert (items[2]["row"], items[2]["metric"]) == (1, "accuracy")
    assert [item["request_id"] for item in items[:4]] == [asked, None, asked, None]
    assert items[1]["reason"].startswith('"user" is no field of an item')
    told = re.fullmatch(r"reward counts for 86400 s; this came after (\d+) s", items[4]["reason"])
    assert told is not None
    # As long as it took until it was judged.
    assert 86460 <= int(told[1]) <= 86460 + math.ceil(time.time() - begun)

    first, second, late = journaled(gateway)
    assert (first.request_id, first.row, first.value, first.late) == (asked, 0, 1.0, False)
    assert (second.row, second.value, second.label) == (1, None, '{"a":"é","b":1}')
    assert (late.value, late.late) == (2.5, True)
    assert counts(gateway) == {"accepted": 2, "late": 1, "invalid": 2}


def test_a_single_item_is_answered_as_one(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path / "g", remote, gateways)
    right = post(gateway, {**reward(NOWHERE), "ts": "2026-11-23T10:00:00Z"})
    assert (right.status_code, right.json()["status"]) == (202, "late")
    wrong = post(gateway, {"request_id": NOWHERE, "metric": "error_rate", "value": 1})
    assert (wrong.status_code, wrong.json()["status"]) == (202, "invalid")
    assert wrong.json()["reason"].startswith("metric: error_rate takes no outcomes")
    (only,) = journaled(gateway)
    assert (only.request_id, only.sent) == (NOWHERE, "2026-11-23T10:00:00.000Z")

    # What is no envelope, and what is too much, is refused whole.
    for body, status, word in (
        (b"request_id=x", 400, "bad_request"),
        ([reward(NOWHERE)], 400, "bad_request"),
        (b'{"value": NaN}', 400, "bad_request"),
        ({"items": [reward(NOWHERE)] * 1001}, 413, "too_large"),
        (b" " * (256 * 1024 + 1), 413, "too_large"),
    ):
        refused = post(gateway, body)
        assert (refused.status_code, refused.json()["error"]["type"]) == (status, word)
    assert (refused.headers["connection"], refusals(gateway, "too_large")) == ("close", 2)
    assert refusals(gateway, "unreadable") == 3
    assert len(journaled(gateway)) == 1
    most = post(gateway, {"items": [reward(NOWHERE)] * 1000})
    assert (most.status_code, len(most.json()["items"])) == (202, 1000)
    assert len(journaled(gateway)) == 1001
    assert gateway.get("/feedback").status_code == 405


def test_kill_9_of_the_front_right_after_the_answer_loses_no_outcome(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path / "g", remote, gateways)
    asked = gateway.predict().json()["request_id"]
    answer = post(gateway, {"items": [reward(asked, value) for value in range(300)]})
    gateway.kill()
    assert answer.status_code == 202
    assert [outcome.value for outcome in journaled(gateway)] == list(range(300))


def test_without_room_in_the_journal_no_outcome_is_acknowledged(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path / "g", remote, gateways, journal_bytes="8KiB")
    full = post(gateway, {"items": [reward(NOWHERE)] * 100})
    assert full.status_code == 503
    assert full.headers["retry-after"] == "5"
    assert full.json()["error"]["where"] == "journal"
    assert "no outcome of this request was recorded" in full.json()["error"]["message"]
    assert journaled(gateway) == []
    assert refusals(gateway, "journal_full") == 1
    assert counts(gateway) == {"accepted": 0, "late": 0, "invalid": 0}
    # Predictions go on, and so do outcomes for which there is room.
    assert gateway.predict().status_code == 200
    assert post(gateway, reward(NOWHERE)).status_code == 202
    assert len(journaled(gateway)) == 1


def test_what_is_asked_of_an_unknown_request_has_no_items_and_says_how_long_to_wait(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    gateway = start(tmp_path / "g", remote, gateways)
    unknown = gateway.get(f"/feedback/{NOWHERE}")
    assert unknown.status_code == 200
    assert unknown.json() == {
        "request_id": NOWHERE,
        "items": [],
        "note": "no outcome of this request is known; one is shown about a second after it was"
        " sent",
    }
    bad = gateway.get("/feedback/ada")
    assert bad.status_code == 400
    assert bad.json()["error"] == {
        "type": "bad_request",
        "message": "a request id is a lower-case UUIDv7. Given: 'ada'",
        "where": "request_id",
    }


def test_what_became_of_each_outcome_is_shown() -> None:
    states = [
        OutcomeState(0, "reward", "accepted", "2026-11-23T10:00:00.000Z", 1.5, "prod", 2),
        OutcomeState(1, "accuracy", "waiting", "2026-11-23T10:00:00.000Z"),
    ]
    asked: list[RequestId] = []

    def outcomes(request_id: RequestId) -> list[OutcomeState]:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()  # it may block: not on the loop
        asked.append(request_id)
        return states

    feedback = Feedback(
        cast(Recorder, None), Metrics(), metrics=dict, outcomes=outcomes, most_bytes=lambda: 1
    )

    def show(text: str) -> Any:
        scope = {"type": "http", "path_params": {"request_id": text}}
        return json.loads(bytes(asyncio.run(feedback.show(Request(scope))).body))

    assert show(NOWHERE) == {
        "request_id": NOWHERE,
        "items": [
            {
                "row": 0,
                "metric": "reward",
                "status": "accepted",
                "ts": "2026-11-23T10:00:00.000Z",
                "value": 1.5,
                "branch": "prod",
                "duplicates": 2,
            },
            {
                "row": 1,
                "metric": "accuracy",
                "status": "waiting",
                "ts": "2026-11-23T10:00:00.000Z",
                "value": None,
                "branch": "",
                "duplicates": 0,
            },
        ],
    }
    with pytest.raises(RequestError):
        show(NOWHERE.upper() + "x")
    assert asked == [NOWHERE]


def test_a_large_batch_lets_everyone_else_go_first_again_and_again() -> None:
    recorded: list[Outcome] = []
    recorder = cast(Recorder, SimpleNamespace(outcomes=recorded.extend))
    metrics = {metric.name: metric for metric in DEFAULTS}
    feedback = Feedback(
        recorder,
        Metrics(),
        metrics=lambda: metrics,
        outcomes=lambda _: [],
        most_bytes=lambda: 10**6,
    )

    async def story() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode()}

        body = {"items": [reward(NOWHERE)] * 1000}
        task = asyncio.create_task(others())
        scope = {"type": "http", "headers": []}
        assert (await feedback.take(Request(scope, receive))).status_code == 202
        task.cancel()
        return turns

    assert asyncio.run(story()) >= 19
    assert len(recorded) == 1000
