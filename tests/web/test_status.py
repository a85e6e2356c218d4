"""What people are shown is true, is JSON, and is there while the configuration changes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gitrepo import Remote, git
from running import Gateway, serve_py
from starlette.requests import Request
from starlette.responses import Response
from waiting import wait_until

from gateway.config import Config
from gateway.names import Branch
from gateway.recording import Recorder
from gateway.routing import Routing
from gateway.shadows import Shadows
from gateway.web.status import Status
from gateway.workers.fleet import Fleet

FINGERPRINT = "f" * 32


def config(*branches: str, **settings: Any) -> Config:
    weights = {name: {"weight": 1} for name in branches}
    return Config.model_validate(
        {"repository": "r", "baseline": branches[0], "branches": weights, **settings}
    )


class Slots:
    """A fleet as status sees it: a state for each configured branch, KeyError for any other."""

    def __init__(self, *branches: str) -> None:
        self.states = {
            name: {
                "state": "ready",
                "reason": None,
                "serving": {"commit": "c" * 40, "fingerprint": FINGERPRINT},
            }
            for name in branches
        }
        self.spares = SimpleNamespace(status=[])

    def slot(self, name: Branch) -> Any:
        return SimpleNamespace(state=self.states[name])


def status(routing: Routing, fleet: Slots, snapshots: Path) -> Status:
    return Status(
        routing=routing,
        fleet=cast(Fleet, fleet),
        recorder=cast(Recorder, SimpleNamespace(full=False)),
        shadows=cast(Shadows, SimpleNamespace(status=lambda name: None)),
        repository=lambda: {"branches": {}},
        monitor=dict,
        configuration=lambda: {"state": "in_force"},
        access=dict,
        allocation=lambda: {"trouble": None},
        snapshots=snapshots,
    )


def card(tmp_path: Path, text: str) -> None:
    folder = tmp_path / FINGERPRINT / "metrics"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(text)


def shown(response: Response) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found: dict[str, Any] = json.loads(bytes(response.body), parse_constant=refuse)
    return found


def ask(name: str) -> Request:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    return Request({**scope, "path_params": {"branch": name}})


@pytest.mark.parametrize(
    "model",
    [
        {"auc": 0.5, "n": 3, "note": "é"},
        {"precision_at": 0.9, "at": 0.5, "since": 1.0, "nested": [{"recall_at": 0.25}]},
        {"since": 1e300},
        [],
        0,
    ],
)
def test_the_branchs_own_metrics_are_shown_as_they_are(tmp_path: Path, model: Any) -> None:
    card(tmp_path, json.dumps(model))
    routing = Routing(config("prod"), b"k", {})
    answer = asyncio.run(status(routing, Slots("prod"), tmp_path).branch(ask("prod")))
    assert shown(answer)["model"] == model


@pytest.mark.parametrize(
    "text", ["", "{", "\x00", '{"auc": NaN}', '{"auc": 1e999}', '"\\ud800"', "[" * 100_000]
)
def test_metrics_that_are_no_json_do_not_break_the_page(tmp_path: Path, text: str) -> None:
    card(tmp_path, text)
    routing = Routing(config("prod"), b"k", {})
    answer = asyncio.run(status(routing, Slots("prod"), tmp_path).branch(ask("prod")))
    assert shown(answer)["branch"] == "prod"


def test_a_branch_taken_out_while_the_page_is_made_does_not_break_it(tmp_path: Path) -> None:
    """Reading a model card takes a moment, and another configuration may come into force in it."""
    routing = Routing(config("prod", "exp"), b"k", {})
    fleet = Slots("prod", "exp")
    page = status(routing, fleet, tmp_path)

    async def story() -> Response:
        asked = asyncio.create_task(page.branches(ask("")))
        await asyncio.sleep(0)
        del fleet.states["exp"]
        routing.apply(config("prod"))
        return await asked

    assert "prod" in shown(asyncio.run(story()))["branches"]


@pytest.mark.parametrize("text", ["team/é", "team~é"])
def test_a_branch_is_found_by_its_name_and_by_its_folder(tmp_path: Path, text: str) -> None:
    routing = Routing(config("team/é"), b"k", {})
    answer = asyncio.run(status(routing, Slots("team/é"), tmp_path).branch(ask(text)))
    assert shown(answer)["branch"] == "team/é"


NOT_LOADED = {"state": "loading", "reason": None, "serving": None}


@pytest.mark.parametrize(
    ("name", "state", "ready_wait", "waits"),
    [
        ("prod", {"state": "loading"}, "1ms", True),
        ("prod", {"state": "failed", "reason": "broken"}, "1ms", True),
        ("exp", {"state": "loading"}, "1h", True),
        ("exp", {"state": "loading"}, "1ms", False),
        ("exp", {"state": "failed", "reason": "broken"}, "1h", False),
    ],
)
def test_only_the_baseline_must_be_loaded_for_the_gateway_to_be_ready(
    tmp_path: Path, name: str, state: dict[str, Any], ready_wait: str, waits: bool
) -> None:
    routing = Routing(config("prod", "exp", ready_wait=ready_wait), b"k", {})
    fleet = Slots("prod", "exp")
    fleet.states[name] = {**NOT_LOADED, **state}
    page = status(routing, fleet, tmp_path)
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 0.002)
    assert set(page.waiting_for()) == ({name} if waits else set())


def test_a_branch_that_ramps_is_waited_for_and_has_its_first_step_without_a_weight(
    tmp_path: Path,
) -> None:
    branches = {"prod": {"weight": 10}, "exp": {"ramp": {"steps": [25, 50]}}, "idle": {}}
    routing = Routing(config("prod", branches=branches, ready_wait="1h"), b"k", {})
    fleet = Slots("prod", "exp", "idle")
    page = status(routing, fleet, tmp_path)
    told = [shown(asyncio.run(page.branch(ask(name)))) for name in branches]
    assert [one["weight"] for one in told] == [10, 0, 0]
    assert [one["share"] for one in told] == pytest.approx([0.75, 0.25, 0])
    fleet.states["exp"] = fleet.states["idle"] = {**NOT_LOADED}
    assert page.waiting_for() == {"exp": "loading"}


def test_names_that_are_awkward_everywhere_are_served_and_written_back(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    names = ['quo"te', "team/é-ü", "a/b/monitoring/predictions.csv"]
    remote.commit("prod", serve_py("old"))
    for name in names:
        remote.commit(name, serve_py(name), start="prod")
    branches: dict[str, dict[str, int]] = {"prod": {"weight": 0}}
    branches |= {name: {"weight": 1} for name in names}
    gateway = Gateway(tmp_path / "g", remote, branches)
    gateways.append(gateway)
    gateway.start()
    seen = set()
    for user in range(40):
        answer = gateway.predict(unit=f"user-{user}")
        assert answer.status_code == 200
        branch = answer.json()["branch"]
        headers = {key.lower(): value for key, value in answer.headers.raw}
        assert headers[b"gateway-branch"].decode() == branch
        assert answer.json()["predictions"] == [branch]
        seen.add(branch)
    assert seen == set(names)
    for name in names:
        page = gateway.get("/branches/" + name.replace("/", "~")).json()
        assert page["branch"] == name
        folder = f"monitoring/predictions/{name.replace('/', '~')}/"

        def written(name: str = name, folder: str = folder) -> bool:
            return any(path.startswith(folder) for path in paths(remote, name))

        wait_until(written, describe=gateway.words)
        export = gateway.get(f"/branches/{name.replace('/', '~')}/monitoring/predictions.csv")
        assert export.status_code == 200
        assert export.text.count("\n") > 1


def paths(remote: Remote, branch: str) -> list[str]:
    """As they are: without -z git quotes what is not ASCII."""
    listed = git(remote.path, "ls-tree", "-r", "-z", "--name-only", f"refs/heads/{branch}")
    return listed.split("\x00")


def test_a_commit_whose_content_is_refused_is_quarantined_everywhere_it_is_said(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    """Status, metrics, a decision and a log line, as for one that cannot be loaded."""
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    good = gateway.serving("prod")
    remote.commit("prod", {"src/serve.py": None, "README.md": "nothing to serve"})

    def trouble() -> str | None:
        found = gateway.branch("prod")["repository"]
        return str(found["text"]) if found["trouble"] == "content" else None

    wait_until(trouble, describe=gateway.words)
    assert gateway.serving("prod") == good
    assert gateway.predict().status_code == 200
    assert gateway.metric('gateway_branch_quarantined{branch="prod"}') == 1

    def written(kind: str) -> Callable[[], list[str]]:
        return lambda: remote.files("prod", kind)

    wait_until(written("monitoring/decisions/prod/"), describe=gateway.words)
    wait_until(written("logs/prod/"), describe=gateway.words)
