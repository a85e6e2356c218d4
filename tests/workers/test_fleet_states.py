"""Any order of pushes, crashes, requests and configurations: refused by name, or done as asked.

A real fleet with real children, driven one step at a time by Hypothesis.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from waiting import wait_until_async
from workers.fleets import DEV, PROD, commit_of, constant, running, serving_code, sin

from gateway.config.sections import BranchConfig, LimitsConfig, Privacy
from gateway.errors import DeadlineExceeded, GatewayError, ModelError, NotReady, Overloaded
from gateway.names import Branch
from gateway.repositories.move import Move
from gateway.workers.jobs import Answer

BRANCHES = st.sampled_from([PROD, DEV])
BROKEN = ("exits_on_import", "raises_on_import")
REFUSALS = (NotReady, Overloaded, DeadlineExceeded, ModelError)


class FleetMachine(RuleBasedStateMachine):
    """What was offered and configured, against what the fleet answers and shows."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.runner = asyncio.Runner()
        self.context = running(self.root)
        self.world = self.runner.run(self.context.__aenter__())
        self.configured = {PROD}
        self.offered: dict[Branch, dict[str, int]] = {PROD: {}, DEV: {}}
        self.broken: set[str] = set()
        self.newest: dict[Branch, Move | None] = {PROD: None, DEV: None}
        self.quiet = 0

    def do(self, body: Any) -> Any:
        return self.runner.run(body)

    def teardown(self) -> None:
        self.runner.run(self.context.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()

    async def offer(self, move: Move) -> None:
        self.world.fleet.offer(move)
        if move.branch in self.configured:
            self.newest[move.branch] = move

    @initialize(value=st.integers(0, 2))
    def begin_with_a_good_model(self, value: int) -> None:
        self.push(PROD, value)
        self.wait_and_ask(PROD, 2)

    @rule(branch=BRANCHES, content=st.sampled_from([0, 1, 2, *BROKEN]))
    def push(self, branch: Branch, content: int | str) -> None:
        if isinstance(content, str):
            move = serving_code(self.root, sin(content), branch)
            self.broken.add(move.commit)
        else:
            move = constant(self.root, content, branch)
            self.offered[branch][move.commit] = content
        self.do(self.offer(move))

    @rule(branch=BRANCHES)
    def push_quietly(self, branch: Branch) -> None:
        newest = self.newest[branch]
        if newest is None:
            return
        self.quiet += 1
        commit = commit_of(("quiet", branch, self.quiet))
        if newest.commit in self.broken:
            self.broken.add(commit)
        else:
            self.offered[branch][commit] = self.offered[branch][newest.commit]
        self.do(self.offer(replace(newest, tip=commit, commit=commit)))

    @rule(branch=BRANCHES, count=st.integers(1, 5))
    def wait_and_ask(self, branch: Branch, count: int) -> None:
        newest = self.newest[branch]
        if newest is None or branch not in self.configured:
            return

        def there() -> bool:
            state = self.world.state(branch)
            serves = state["serving"] and state["serving"]["commit"] == newest.commit
            if newest.commit in self.broken:
                return bool(state["quarantined"] == newest.fingerprint)
            return bool(serves) and self.world.slot(branch).ready

        self.do(wait_until_async(there, describe=lambda: self.world.state(branch)))
        self.ask(branch, count)

    @rule(branch=BRANCHES)
    def kill_a_worker(self, branch: Branch) -> None:
        if branch in self.configured:
            for worker in self.world.state(branch)["workers"][:1]:
                with suppress(ProcessLookupError):
                    os.kill(worker["pid"], signal.SIGKILL)

    @rule(branch=BRANCHES, count=st.integers(1, 5))
    def ask(self, branch: Branch, count: int) -> None:
        async def together() -> list[Any]:
            futures = []
            for _ in range(count):
                try:
                    futures.append(self.world.submit([[0]], branch, timeout=5.0))
                except GatewayError as refused:
                    failed: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
                    failed.set_exception(refused)
                    futures.append(failed)
            return await asyncio.gather(*futures, return_exceptions=True)

        if branch not in self.configured:
            return
        for answer in self.do(together()):
            if isinstance(answer, BaseException):
                assert isinstance(answer, REFUSALS), answer
                continue
            assert answer.serving.commit not in self.broken
            value = self.offered[branch][answer.serving.commit]
            assert json.loads(answer.predictions) == [value]

    @rule(workers=st.integers(1, 2), dev=st.sampled_from([True, True, False]))
    def configure(self, workers: int, dev: bool) -> None:
        branches = {PROD: BranchConfig(workers=workers)}
        if dev:
            branches[DEV] = BranchConfig()
        self.do(self.world.fleet.configure(branches, LimitsConfig(), Privacy()))
        if dev and DEV not in self.configured:
            self.newest[DEV] = None  # a branch that is new has been offered nothing
        self.configured = set(branches)

    @invariant()
    def what_is_shown_is_true(self) -> None:
        for branch in self.configured:
            state = self.world.state(branch)
            serving = state["serving"]
            assert serving is None or serving["commit"] in self.offered[branch]
            if self.world.slot(branch).ready:
                assert state["state"] == "ready"
            else:
                assert state["state"] in ("absent", "loading", "restarting", "failed")


FleetMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestFleetStates = FleetMachine.TestCase
