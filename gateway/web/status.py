"""GET /branches and /branches/{branch}: what serves, what is wanted, and why they differ.

Gathers what the keepers say of themselves; decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.config import Config
from gateway.errors import NotFound
from gateway.experiments.allocation import Order
from gateway.machine_metrics import Standing
from gateway.metrics import Metrics
from gateway.names import Branch, Commit
from gateway.recording import Recorder
from gateway.repositories.authorship import Authorship
from gateway.routing import Routing
from gateway.shadows import Shadows
from gateway.web.errors import json_response
from gateway.workers.fleet import Fleet

#: A larger metrics/model.json is not for a page that people read.
_CARD_BYTES = 256 * 1024


class Status:
    """Words and figures for people, as JSON."""

    def __init__(
        self,
        *,
        routing: Routing,
        fleet: Fleet,
        recorder: Recorder,
        shadows: Shadows,
        repository: Callable[[], dict[str, Any]],
        monitor: Callable[[], dict[str, Any]],
        configuration: Callable[[], dict[str, Any]],
        allocation: Callable[[], dict[str, Any]],
        access: Callable[[], dict[str, Any]],
        snapshots: Path,
        told: Callable[[Commit], Authorship | None] = lambda commit: None,
    ) -> None:
        """`told` is who made a commit, and what for."""
        self._routing = routing
        self._fleet = fleet
        self._recorder = recorder
        self._shadows = shadows
        self._repository = repository
        self._monitor = monitor
        self._configuration = configuration
        self._allocation = allocation
        self._access = access
        self._snapshots = snapshots
        self._told = told
        self._cards: dict[str, Any] = {}
        self._started = time.monotonic()

    def waiting_for(self) -> dict[str, str]:
        """What readiness still waits for, in words; empty when ready."""
        config = self._routing.config
        late = time.monotonic() - self._started > config.ready_wait
        waiting: dict[str, str] = {}
        repository = self._repository()["branches"]
        for name, weight in config.weights.items():
            state = self._slot(name, repository)
            loaded = state["serving"] is not None
            settled = loaded or state["state"] == "failed" or late or weight == 0
            if not (loaded if name == config.baseline else settled):
                waiting[name] = state["reason"] or state["state"]
        return waiting

    def gauge(self, metrics: Metrics) -> None:
        """Show in the metrics what is wrong as of now, with the repository and with writing."""
        repository, monitor = self._repository(), self._monitor()
        metrics.repository_up.set(repository["last_error"] is None)
        metrics.drift.show(monitor.get("drift"))
        metrics.shared.show(monitor.get("shared"))
        for cache, found in (("read", repository["cache"]), ("write", monitor.get("cache"))):
            if found:
                metrics.cache_bytes[cache].set(found["bytes"])
        for name in self._routing.config.branches:
            children = metrics.branch(name)
            trouble = (repository["branches"].get(name) or {}).get("trouble")
            for kind, child in children.troubles.items():
                child.set(kind == trouble)
            diverted = (monitor.get("branches", {}).get(name) or {}).get("diverted")
            children.diverted.set(diverted is not None)
        self._shadows.gauge()
        metrics.machine.standing = self._standing(monitor)

    def _standing(self, monitor: dict[str, Any]) -> Standing:
        config = self._routing.config
        return Standing(
            baseline=config.baseline,
            is_ready=not self.waiting_for(),
            refuses_configuration=self._configuration()["state"] == "refused",
            monitor_is_up=monitor["up"],
            experiments_are_up=monitor["experiments"]["trouble"] is None,
            queue_rows=config.limits.queue_rows,
            journal_bytes=self._recorder.most_bytes,
            flush=config.monitoring.flush,
            oldest_chunk=self._recorder.oldest_chunk,
            shared_bytes=config.redis.chunk_bytes if config.redis else None,
            memory={name: most for name in config.branches if (most := config.memory_of(name))},
        )

    async def branches(self, request: Request) -> Response:
        return json_response(_pretty(await self.everything()))

    async def everything(self) -> dict[str, Any]:
        """What GET /branches answers."""
        config = self._routing.config
        repository = self._repository()
        monitor = self._monitor()
        branches = {}
        for name in config.branches:
            with contextlib.suppress(NotFound):  # taken out while this page is made
                branches[name] = await self._branch(name, config, repository, monitor)
        return {
            "baseline": config.baseline,
            "salt": config.salt,
            "epoch": self._routing.epoch,
            "configuration": self._configuration(),
            "allocation": self._allocation(),
            "access": self._access(),
            "repository": {k: v for k, v in repository.items() if k != "branches"},
            "recording": {
                "dropping": self._recorder.full,
                "waiting": monitor.get("waiting"),
                "monitor_pid": monitor.get("pid"),
                "trouble": monitor.get("trouble"),
                "cache": monitor.get("cache"),
                "drift": _without(monitor.get("drift"), "branches", "rows"),
                "experiments": monitor.get("experiments"),
            },
            **_shared(monitor.get("shared")),
            "spare_workers": self._fleet.spares.status,
            "branches": branches,
        }

    async def branch(self, request: Request) -> Response:
        config = self._routing.config
        name = self.known(request.path_params["branch"])
        body = await self._branch(name, config, self._repository(), self._monitor())
        return json_response(_pretty(body))

    def known(self, text: str) -> Branch:
        """A configured branch by name, also with `~` for `/`; NotFound otherwise."""
        return self._routing.known(text, "path")

    async def _branch(
        self, name: Branch, config: Config, repository: dict[str, Any], monitor: dict[str, Any]
    ) -> dict[str, Any]:
        slot = self._slot(name, repository["branches"])
        if slot["serving"] is not None:
            slot["serving"] = {**slot["serving"], **self._authorship(slot["serving"]["commit"])}
        fingerprint = slot["serving"]["fingerprint"] if slot["serving"] else None
        split, order = self._routing.split, self._routing.orders.get(name)
        return {
            "branch": name,
            "baseline": name == config.baseline,
            "weight": config.branches[name].weight,
            "share": split.propensities.get(name, 0.0),
            "effective_weight": split.weights.get(name, 0.0),
            "allocation": order and _told(order),
            "fallback": config.branches[name].fallback,
            "shadow": self._shadows.status(name),
            **slot,
            "repository": repository["branches"].get(name),
            "monitoring": monitor.get("branches", {}).get(name),
            "recorded_rows": monitor.get("rows", {}).get(name, 0),
            "drift": _drift(monitor.get("drift"), name),
            "model": await self._model_card(fingerprint) if fingerprint else None,
        }

    def _authorship(self, commit: str) -> dict[str, str | None]:
        told = self._told(Commit(commit))
        fields = ("author", "subject", "committed_at")
        return {name: getattr(told, name) if told is not None else None for name in fields}

    def _slot(self, name: Branch, repository: dict[str, Any]) -> dict[str, Any]:
        """What the fleet says; where it was given nothing to load, what the repository says."""
        try:
            state = self._fleet.slot(name).state
        except KeyError:
            raise NotFound(f"branch {name!r} is no longer served", where="path") from None
        found = repository.get(name) or {}
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


def _told(order: Order) -> dict[str, Any]:
    return {"state": order.state, "reason": order.reason, "since": order.since}


def _without(fields: dict[str, Any] | None, *names: str) -> dict[str, Any] | None:
    return fields and {name: value for name, value in fields.items() if name not in names}


def _shared(said: dict[str, Any] | None) -> dict[str, Any]:
    """What is shared with other replicas, and who they are; nothing where there are none."""
    if said is None:
        return {}
    return {"shared": _without(said, "replicas", "looks"), "replicas": said.get("replicas", {})}


def _drift(said: dict[str, Any] | None, name: Branch) -> dict[str, Any] | None:
    """The verdict on the branch's last window; its figures stand on a page of their own."""
    found = (said or {}).get("branches", {}).get(name)
    return found and {key: found.get(key) for key in ("severity", "drifted", "window_end")}


def _read_card(path: Path) -> Any:
    """What the file says, if it is plain JSON of a sensible size; else what is wrong with it."""
    try:
        with path.open("rb") as file:
            content = file.read(_CARD_BYTES + 1)
        if len(content) > _CARD_BYTES:
            raise ValueError(f"larger than {_CARD_BYTES} bytes")
        # Strict both ways: no NaN, no number beyond a float, no half of a character.
        card = msgspec.json.decode(content)
        msgspec.json.encode(card)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        return {"unreadable": f"metrics/model.json: {error}"}
    return card


def _pretty(body: dict[str, Any]) -> bytes:
    """Indented: people read this with curl."""
    return (json.dumps(body, indent=2, ensure_ascii=False) + "\n").encode()
