"""A `gateway serve` of our own: its gateway.yaml, its process, its status, its end."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from loadtests.bench.processes import Tree
from loadtests.ports import free_port
from loadtests.repository import DidNotLand

_READY_SECONDS = 90.0
_STOP_SECONDS = 60.0


class GatewayProcess:
    """One gateway on one port, however often it is started. `settings` become gateway.yaml.

    What is waited for must come within `patience` seconds.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], *, patience: float = 60.0
    ) -> None:
        self.file = folder / "gateway.yaml"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._patience = patience
        self._settings = {
            **settings,
            "listen": f"127.0.0.1:{self.port}",
            "state_dir": "state",
        }
        self._tree: Tree | None = None
        self._starts = 0
        self._is_down = False
        self._is_over = False

    @property
    def tree(self) -> Tree:
        """The processes of the newest start."""
        if self._tree is None:
            raise RuntimeError("the gateway was not started")
        return self._tree

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Write gateway.yaml (JSON is YAML) with these weights, whole or not at all."""
        settings = self._settings
        branches = {
            name: {**settings["branches"][name], "weight": weight}
            for name, weight in weights.items()
        }
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps({**settings, "branches": branches}, indent=1) + "\n")
        beside.rename(self.file)

    def start(self) -> None:
        """Served and ready; DidNotLand otherwise."""
        self._starts += 1
        log = "gateway.log" if self._starts == 1 else f"gateway-{self._starts}.log"
        self._tree = Tree(
            [sys.executable, "-m", "gateway", "serve", str(self.file)],
            environment=os.environ,
            folder=self._folder,
            log=self._folder / log,
        )
        self._is_down = False
        self.until(self._is_ready, "the gateway is ready", _READY_SECONDS)

    def kill(self) -> None:
        """kill -9 of the front alone, as a crash is; its children must end by themselves."""
        self._is_down = True
        self.tree.kill()

    def end(self) -> int:
        """SIGTERM to the front; its exit code once it has ended in order."""
        self._is_over = True
        return self.tree.end(_STOP_SECONDS)

    def stop(self) -> int:
        """End it, and whatever is left of it; the exit code. 0 where nothing was started."""
        if self._tree is None:
            return 0
        self._is_over = True
        return self._tree.stop(_STOP_SECONDS)

    # What it says

    def until_weighed(self, weights: Mapping[str, float]) -> None:
        """Until the gateway says that these weights are in force."""
        self.until(
            lambda: {n: b["weight"] for n, b in self.branches().items()} == dict(weights),
            f"the weights are {dict(weights)}",
        )

    def until_served(self, branch: str, commit: str) -> None:
        """Until the branch's answers come from this commit."""

        def serves() -> bool:
            serving = self.branches()[branch]["serving"]
            return bool(serving and serving["commit"] == commit)

        self.until(serves, f"{branch} serves {commit[:12]}")

    def until(self, condition: Callable[[], bool], what: str, seconds: float | None = None) -> None:
        """Until the condition holds; a gateway that cannot be asked just now does not hold it."""
        seconds = seconds or self._patience
        end = time.monotonic() + seconds
        while not _holds(condition):
            if self._is_over:
                raise DidNotLand(f"the gateway was stopped before this: {what}")
            if not self._is_down and (code := self.tree.exit_code) is not None:
                raise DidNotLand(f"the gateway ended with {code}:\n{self.tree.words()}")
            if time.monotonic() > end:
                raise DidNotLand(f"not within {seconds:.0f} s: {what}\n{self.tree.words()}")
            time.sleep(0.1)

    def branches(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/branches")["branches"]
        return found

    def get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            body: dict[str, Any] = json.load(answer)
        return body

    def _is_ready(self) -> bool:
        return bool(self.get("/readyz").get("ready", True))


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except (OSError, HTTPException, ValueError):
        return False
