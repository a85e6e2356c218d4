"""An operator's word over HTTP, up to the folder of commands: who may send it, and what it says."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playedmonitor import PlayedMonitor
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from steeringfacts import weighted

from gateway.access.guard import Guard
from gateway.commands_folder import FOLDER
from gateway.config import Config
from gateway.errors import GatewayError
from gateway.metrics import Metrics
from gateway.names import Branch
from gateway.routing import Routing
from gateway.web.errors import gateway_error, http_error
from gateway.web.operating import Operating
from gateway.web.permissions import guarded

HOLD = "/branches/exp/hold"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Of a gateway that has run, with a branch to hold, and a shadow."""
    state = tmp_path / "state"
    state.mkdir()
    arms = {"dev": {"weight": 0, "configured": "d", "shadow": True}}
    settings = {
        "repository": "/r",
        "state_dir": str(state),
        "monitoring": {"flush": 1, "retention": 1, "journal_bytes": 1},
        "branches": ["prod", "exp", "dev"],
        "baseline": "prod",
        "experiment": {"branches": arms},
    }
    (state / "monitor-settings.json").write_text(json.dumps(settings))
    return state


def ask(
    state_dir: Path,
    asks: Callable[[httpx.AsyncClient], Awaitable[None]],
    patience: float = 10.0,
    **access: Any,
) -> None:
    config = Config.model_validate(
        {
            "repository": "r",
            "state_dir": str(state_dir),
            "baseline": "prod",
            "branches": {"prod": {"weight": 1}, "exp": {"weight": 1}, "dev": {"shadow": True}},
            "access": access,
        }
    )
    operating = Operating(Routing(config, b"k" * 32, {}), patience)
    path = "/branches/{branch:path}"
    routes = [
        Route(f"{path}/hold", operating.hold, methods=["POST"]),
        Route(f"{path}/release", operating.release, methods=["POST"]),
    ]
    handlers: Any = {GatewayError: gateway_error, HTTPException: http_error}
    app = Starlette(routes=guarded(routes, Guard(config, Metrics())), exception_handlers=handlers)

    async def run() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as one:
            await asks(one)

    asyncio.run(run())


def audited(caplog: pytest.LogCaptureFixture) -> list[tuple[str, ...]]:
    names = ("who", "what", "address", "result", "branch")
    lines = [record for record in caplog.records if record.name == "gateway.audit"]
    return [tuple(getattr(line, name, "") for name in names) for line in lines]


def test_it_is_answered_once_the_monitor_took_it(
    state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def asks(client: httpx.AsyncClient) -> None:
        for path in (HOLD, "/branches/exp/release"):
            answer = await client.post(path, json={"reason": " a \x1b[31m freeze"})
            assert answer.status_code == 200
            assert answer.json()["branch"] == "exp"
            assert answer.json()["action"] == path.rpartition("/")[2]
        assert answer.json()["text"] == "exp has the users that gateway.yaml gives it"
        assert (await client.post(HOLD, headers=JSON)).status_code == 200  # without a body

    caplog.set_level(logging.INFO, "gateway.audit")
    with PlayedMonitor(state_dir) as monitor:
        monitor.run(lambda: (weighted(Branch("exp")),))
        ask(state_dir, asks)
    first = ("anonymous", "hold", "127.0.0.1", "in_force", "exp")
    assert audited(caplog)[0] == first
    assert len(audited(caplog)) == 3


def test_where_nobody_takes_it_that_is_a_503_and_it_is_withdrawn(
    state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def asks(client: httpx.AsyncClient) -> None:
        answer = await client.post(HOLD, json={})
        assert answer.status_code == 503
        assert "took it not within 0.3 s, and it is withdrawn" in answer.text

    ask(state_dir, asks, patience=0.3)
    assert audited(caplog) == [("anonymous", "hold", "127.0.0.1", "failed", "exp")]
    assert list((state_dir / FOLDER).iterdir()) == []


def test_only_so_many_wait_at_once(state_dir: Path) -> None:
    async def asks(client: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(*(client.post(HOLD, json={}) for _ in range(20)))
        refused = [one for one in answers if "16 others wait" in one.text]
        assert len(refused) == 4
        assert {one.status_code for one in answers} == {503}

    ask(state_dir, asks, patience=0.5)


def test_no_page_of_another_site_gets_it_done(
    state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def asks(client: httpx.AsyncClient) -> None:
        for headers, status in (
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Host": "rebound.example"}, 403),
            ({"Content-Type": "text/plain"}, 400),
            ({"Content-Type": "application/x-www-form-urlencoded"}, 400),
            ({"Sec-Fetch-Site": "same-origin", "Host": "localhost:8080"}, 503),
        ):
            sent = {**JSON, **headers}
            answer = await client.post(HOLD, content=b"{}", headers=sent)
            assert answer.status_code == status, (headers, answer.text)

    ask(state_dir, asks, patience=0.2)
    assert [line[3] for line in audited(caplog)] == ["refused"] * 5 + ["failed"]


def test_what_the_file_allows_anybody_is_allowed_by_any_name_of_the_gateway(
    state_dir: Path,
) -> None:
    async def asks(client: httpx.AsyncClient) -> None:
        sent = {**JSON, "Host": "gateway.internal"}
        assert (await client.post(HOLD, content=b"{}", headers=sent)).status_code == 503

    ask(state_dir, asks, patience=0.2, anonymous=["operate"])


def test_words_that_make_no_sense_are_refused_and_say_what_would(state_dir: Path) -> None:
    async def asks(client: httpx.AsyncClient) -> None:
        for path, body, status, words in (
            ("exq/hold", {}, 404, "no branch 'exq' is served; there are: prod, exp, dev"),
            ("prod/hold", {}, 400, "is the baseline: it has the users"),
            ("dev/release", {}, 400, "is a shadow: it has no users"),
            ("exp/hold", {"out": "yes"}, 400, 'Send {"out": false, "reason": TEXT}'),
            ("exp/hold", {"why": "x"}, 400, "unknown field `why`"),
            ("exp/hold", [], 400, "Expected `object`"),
            ("exp/release", {"out": True}, 400, 'Send {"reason": TEXT}'),
            ("exp/hold", {"reason": "x" * 20_000}, 413, "at most 16384 bytes"),
        ):
            answer = await client.post(f"/branches/{path}", json=body)
            assert answer.status_code == status, answer.text
            assert words in answer.json()["error"]["message"]

    ask(state_dir, asks)
    assert not (state_dir / FOLDER).exists()


def test_other_methods_are_told_which_a_path_takes(state_dir: Path) -> None:
    async def asks(client: httpx.AsyncClient) -> None:
        options = await client.options(HOLD)
        assert (options.status_code, options.headers["Allow"]) == (204, "POST")
        assert not [name for name in options.headers if name.startswith("access-control")]
        assert (await client.put(HOLD)).status_code == 405

    ask(state_dir, asks)
