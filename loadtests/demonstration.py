"""The demonstration repository under load: its gateway, and a person who changes things in it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.demo.repository import CHALLENGER, PROD, build_repository, git
from gateway.errors import GatewayError

_READY_SECONDS = 90.0
_LANDED_SECONDS = 60.0
_STOP_SECONDS = 60.0
_PUSHES = 10

WEIGHTS = {PROD: 70.0, CHALLENGER: 30.0}

_ESTIMATOR = '''"""The model of this branch, not yet fitted."""

from __future__ import annotations

from sklearn.ensemble import RandomForestClassifier


def build() -> RandomForestClassifier:
    return RandomForestClassifier(n_estimators={trees}, max_depth=6, random_state=0)
'''


class DidNotLand(Exception):
    """What a person did has not come into force in time, or could not be done."""


class Commits:
    """Every commit that was ever on a branch, asked of git where it is not known yet.

    Nobody rewrites history here, so a branch's first parents are all that it ever was.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._known: dict[str, set[str]] = {}

    def was_on(self, branch: str, commit: str) -> bool:
        if commit in self._known.get(branch, ()):
            return True
        listed = git(self._repository, "rev-list", "--first-parent", f"refs/heads/{branch}")
        self._known[branch] = set(listed.split())
        return commit in self._known[branch]


class Demonstration:
    """A gateway on a demonstration repository in `folder`, from start to stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.file = self.folder / "gateway.yaml"
        self.log = self.folder / "gateway.log"
        self.url = ""
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Built if need be, served and ready; DidNotLand otherwise."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.repository = build_repository(self.folder)
        self.commits = Commits(self.repository)
        self.person = Person(self.folder / "person", self.repository)
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._listen = f"127.0.0.1:{port}"
        self.weigh(WEIGHTS)
        with self.log.open("wb") as output:
            # A session of its own: Ctrl-C reaches locust, which stops this in order.
            self._child = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._until(self._is_ready, "the gateway is ready", _READY_SECONDS)

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Write gateway.yaml (JSON is YAML), whole or not at all."""
        settings = {
            "repository": str(self.repository),
            "baseline": PROD,
            # A slow machine must not make fallbacks, which are users on another branch.
            "branches": {
                name: {"weight": weight, "timeout": "20s"} for name, weight in weights.items()
            },
            "listen": self._listen,
            "state_dir": "state",
            "poll": "500ms",
            "monitoring": {"flush": "5s"},
        }
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps(settings, indent=1) + "\n")
        beside.rename(self.file)

    def until_weighed(self, weights: Mapping[str, float]) -> None:
        """Until the gateway says that these weights are in force."""
        self._until(
            lambda: {n: b["weight"] for n, b in self._branches().items()} == dict(weights),
            f"the weights are {dict(weights)}",
        )

    def until_served(self, branch: str, commit: str) -> None:
        """Until the branch's answers come from this commit."""

        def serves() -> bool:
            serving = self._branches()[branch]["serving"]
            return bool(serving and serving["commit"] == commit)

        self._until(serves, f"{branch} serves {commit[:12]}")

    def stop(self) -> int:
        """In order; the gateway's exit code."""
        child = self._child
        if child is None:
            return 0
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
        return child.wait()

    def _until(
        self, condition: Callable[[], bool], what: str, seconds: float = _LANDED_SECONDS
    ) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if self._child is not None and (code := self._child.poll()) is not None:
                raise DidNotLand(f"the gateway ended with {code}:\n{self._words()}")
            if time.monotonic() > end:
                raise DidNotLand(f"not within {seconds:.0f} s: {what}\n{self._words()}")
            time.sleep(0.1)

    def _words(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]

    def _is_ready(self) -> bool:
        try:
            return bool(self._get("/readyz").get("ready", True))
        except OSError:
            return False

    def _branches(self) -> dict[str, Any]:
        found: dict[str, Any] = self._get("/branches")["branches"]
        return found

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            body: dict[str, Any] = json.load(answer)
        return body


class Person:
    """Somebody with a clone, who trains, commits, merges and pushes while the gateway does too."""

    def __init__(self, clone: Path, repository: Path) -> None:
        self._clone = clone
        if not clone.exists():
            git(clone.parent, "clone", "--quiet", str(repository), str(clone))
        self._turn = 0

    def train(self) -> str:
        """A new model on the challenger's branch; the commit's id."""
        self._checkout(CHALLENGER)
        self._turn += 1
        # In each run another one than in the runs before, on the same repository.
        count = int(git(self._clone, "rev-list", "--count", "HEAD"))
        code = _ESTIMATOR.format(trees=20 + (count + self._turn) % 40)
        (self._clone / "src" / "estimator.py").write_text(code)
        done = subprocess.run(
            [sys.executable, "src/train.py"],
            cwd=self._clone,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DidNotLand(f"training failed: {done.stderr[-500:]}")
        git(self._clone, "add", "--all", "src", "models", "metrics")
        git(self._clone, "commit", "--quiet", "-m", f"Try another forest, {self._turn}")
        change = git(self._clone, "rev-parse", "HEAD")

        def again() -> None:
            git(self._clone, "cherry-pick", "--allow-empty", change)

        return self._push(CHALLENGER, again)

    def merge(self) -> str:
        """The challenger into production, as a merge commit; its id."""

        def change() -> None:
            message = "Take the challenger into production"
            git(self._clone, "merge", "--quiet", "--no-ff", "-m", message, f"origin/{CHALLENGER}")

        return self._push(PROD, change)

    def _push(self, branch: str, change: Callable[[], object]) -> str:
        """The change on the tip as it is now; anew where somebody pushed in between."""
        for _ in range(_PUSHES):
            self._checkout(branch)
            change()
            try:
                git(self._clone, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
            except GatewayError as error:
                if "rejected" in str(error) or "failed to update ref" in str(error):
                    continue
                raise
            return git(self._clone, "rev-parse", "HEAD")
        raise DidNotLand(f"{branch} moved under {_PUSHES} pushes in a row")

    def _checkout(self, branch: str) -> None:
        git(self._clone, "fetch", "--quiet", "--prune", "origin")
        git(self._clone, "checkout", "--quiet", "--force", "-B", branch, f"origin/{branch}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
