"""GET /branches and /branches/{branch}: what serves, what is wanted, and why they differ.

Gathers what the keepers say of themselves; decides nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import NotFound
from gateway.names import Branch
from gateway.recording import Recorder
from gateway.routing import Routing
from gateway.timestamps import rfc3339
from gateway.web.errors import json_response
from gateway.workers.fleet import Fleet


class Status:
    """Words and figures for people, as JSON."""

    def __init__(
        self,
        *,
        routing: Routing,
        fleet: Fleet,
        recorder: Recorder,
        repository: Callable[[], dict[str, Any]],
        monitor: Callable[[], dict[str, Any]],
        configuration: Callable[[], dict[str, Any]],
        snapshots: Path,
    ) -> None:
        self._routing = routing
        self._fleet = fleet
        self._recorder = recorder
        self._repository = repository
        self._monitor = monitor
        self._configuration = configuration
        self._snapshots = snapshots
        self._cards: dict[str, Any] = {}
        self._started = time.time()

    def waiting_for(self) -> dict[str, str]:
        """What readiness still waits for, in words; empty when ready."""
        config = self._routing.config
        late = time.time() - self._started > config.ready_wait
        waiting: dict[str, str] = {}
        for name, branch in config.branches.items():
            state = self._slot(name)
            loaded = state["serving"] is not None
            settled = loaded or state["state"] == "failed" or late or branch.weight == 0
            if not (loaded if name == config.baseline else settled):
                waiting[name] = state["reason"] or state["state"]
        return waiting

    async def branches(self, request: Request) -> Response:
        config = self._routing.config
        repository = self._repository()
        monitor = self._monitor()
        body = {
            "baseline": config.baseline,
            "salt": config.salt,
            "epoch": self._routing.epoch,
            "configuration": self._configuration(),
            "repository": {k: v for k, v in repository.items() if k != "branches"},
            "recording": {
                "dropping": self._recorder.full,
                "waiting": monitor.get("waiting"),
                "monitor_pid": monitor.get("pid"),
            },
            "branches": {name: await self._branch(name, repository) for name in config.branches},
        }
        return json_response(_pretty(body))

    async def branch(self, request: Request) -> Response:
        name = self.known(request.path_params["branch"])
        return json_response(_pretty(await self._branch(name, self._repository())))

    def known(self, text: str) -> Branch:
        """A configured branch by name, also with `~` for `/`; NotFound otherwise."""
        for name in self._routing.config.branches:
            if text in (name, name.folder):
                return name
        known = ", ".join(self._routing.config.branches)
        raise NotFound(f"no branch {text!r} is served; there are: {known}", where="path")

    async def _branch(self, name: Branch, repository: dict[str, Any]) -> dict[str, Any]:
        config = self._routing.config
        monitor = self._monitor()
        slot = self._slot(name)
        fingerprint = slot["serving"]["fingerprint"] if slot["serving"] else None
        return {
            "branch": name,
            "baseline": name == config.baseline,
            "weight": config.branches[name].weight,
            "share": self._routing.split.propensities[name],
            **slot,
            "repository": repository.get("branches", {}).get(name),
            "monitoring": monitor.get("branches", {}).get(name),
            "recorded_rows": monitor.get("rows", {}).get(name, 0),
            "model": await self._model_card(fingerprint) if fingerprint else None,
        }

    def _slot(self, name: Branch) -> dict[str, Any]:
        """What the fleet says; where it was given nothing to load, what the repository says."""
        state = self._fleet.slot(name).state
        found = self._repository()["branches"].get(name) or {}
        if found.get("trouble") in ("content", "missing"):
            state["reason"] = state["reason"] or found["text"]
            if state["serving"] is None and not state["loading"]:
                state["state"] = "failed"
        return state

    async def _model_card(self, fingerprint: str) -> Any:
        """The branch's own metrics/model.json, shown as it is."""
        if fingerprint not in self._cards:
            path = self._snapshots / fingerprint / "metrics" / "model.json"
            if len(self._cards) > 100:
                self._cards.clear()
            self._cards[fingerprint] = await asyncio.to_thread(_read_card, path)
        return self._cards[fingerprint]


def _read_card(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return {"unreadable": f"metrics/model.json: {error}"}


def _pretty(body: dict[str, Any]) -> bytes:
    """Indented: people read this with curl. Times of the keepers are Unix seconds."""
    return (json.dumps(_dated(body), indent=2, ensure_ascii=False) + "\n").encode()


def _dated(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: rfc3339(item) if isinstance(item, float) and _is_time(key) else _dated(item)
            for key, item in value.items()
        }
    return [_dated(item) for item in value] if isinstance(value, list) else value


def _is_time(key: str) -> bool:
    return key in ("since", "at") or key.endswith("_at")
