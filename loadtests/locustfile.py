"""Users of a gateway, for locust. `make load` runs it; README.md says what it judges.

Without `--host` it serves a demonstration repository of its own, in which weights change and merges
land meanwhile. With `--host` it loads the gateway that is there, and changes nothing.
"""

from __future__ import annotations

import logging
import random
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, between, events, task
from locust.env import Environment

# locust puts this file's folder on the path, not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from loadtests.answers import BadAnswer, said
from loadtests.demonstration import WEIGHTS, Demonstration
from loadtests.happenings import Happenings
from loadtests.judge import Judge
from loadtests.questions import MOST_ROWS, Questions
from loadtests.repository import DidNotLand

log = logging.getLogger("loadtests")


class Scene:
    """What the users of one process share: the gateway, the judge, the happenings."""

    def __init__(self) -> None:
        self.questions = Questions(random.Random())
        self.demonstration: Demonstration | None = None
        self.judge: Judge | None = None
        self.happenings: Happenings | None = None
        self.troubles: list[str] = []
        self.done: Counter[str] = Counter()

    def begin(self, pause: float) -> None:
        """A run begins; with locust's page there may be several."""
        if self.demonstration is None:
            return
        try:
            self.demonstration.gateway.weigh(WEIGHTS)
            self.demonstration.gateway.until_weighed(WEIGHTS)
        except DidNotLand as error:
            self.troubles.append(str(error))
            return
        self.judge = Judge(WEIGHTS, self.demonstration.commits.was_on)
        self.happenings = Happenings(self.demonstration, self.judge, pause, log.info)
        self.happenings.start()

    def finish(self) -> None:
        if self.happenings is not None:
            self.happenings.stop()
            if self.happenings.trouble:
                self.troubles.append(self.happenings.trouble)
            self.done = self.happenings.done
            done = ", ".join(f"{count} {what}" for what, count in self.done.items())
            moved = self.judge.moved if self.judge is not None else 0
            log.info(
                "during the run: %s; %d users moved with the weights", done or "nothing", moved
            )
            self.happenings = None

    def end(self) -> None:
        self.finish()
        if self.demonstration is not None:
            code = self.demonstration.stop()
            if code != 0:
                self.troubles.append(f"the gateway ended with exit code {code}")


scene = Scene()


def _options(environment: Environment) -> Namespace:
    assert environment.parsed_options is not None
    return environment.parsed_options


@events.init_command_line_parser.add_listener
def _arguments(parser: ArgumentParser, **_: Any) -> None:
    parser.add_argument(
        "--folder", default=".load", help="Where the demonstration lives; remove it to begin anew."
    )
    parser.add_argument(
        "--pause", type=float, default=5.0, help="Seconds between two happenings in it."
    )
    parser.add_argument(
        "--merges",
        type=int,
        default=0,
        help="End when so many merges are in force; a run that ends before has failed.",
    )


@events.init.add_listener
def _open(environment: Environment, **_: Any) -> None:
    if environment.host is None:
        scene.demonstration = Demonstration(Path(_options(environment).folder))
        try:
            scene.demonstration.start()
        except DidNotLand as error:
            scene.demonstration.stop()
            log.error("%s", error)
            sys.exit(2)
        environment.host = scene.demonstration.gateway.url
    log.info("the gateway is %s", environment.host)


@events.test_start.add_listener
def _begin(environment: Environment, **_: Any) -> None:
    scene.begin(_options(environment).pause)
    if _options(environment).merges:
        gevent.spawn(_end_when_merged, environment, _options(environment).merges)


def _end_when_merged(environment: Environment, wanted: int) -> None:
    happenings = scene.happenings
    while happenings is not None and happenings is scene.happenings:
        if happenings.done["merges"] >= wanted:
            assert environment.runner is not None
            environment.runner.quit()
            return
        gevent.sleep(0.1)


@events.test_stop.add_listener
def _finish(environment: Environment, **_: Any) -> None:
    scene.finish()


@events.quitting.add_listener
def _end(environment: Environment, **_: Any) -> None:
    scene.end()
    total = environment.stats.total
    wanted = _options(environment).merges
    if scene.done["merges"] < wanted:
        scene.troubles.append(f"{scene.done['merges']} merges came into force, not {wanted}")
    if total.num_requests == 0:
        scene.troubles.append("nothing was asked")
    for trouble in scene.troubles:
        log.error("%s", trouble)
    failed = total.num_failures or (environment.runner and environment.runner.exceptions)
    environment.process_exit_code = 1 if scene.troubles or failed else 0


class Client(FastHttpUser):
    """A client program that asks for many customers, each with an id that stays."""

    wait_time = between(0.01, 0.1)
    network_timeout = 30.0
    connection_timeout = 10.0

    @task(5)
    def one_named_row(self) -> None:
        self._ask("named, 1 row", 1, named=True)

    @task(5)
    def one_array_row(self) -> None:
        self._ask("array, 1 row", 1, named=False)

    @task(2)
    def several_named_rows(self) -> None:
        self._ask(f"named, 2 to {MOST_ROWS} rows", scene.questions.several(), named=True)

    @task(2)
    def several_array_rows(self) -> None:
        self._ask(f"array, 2 to {MOST_ROWS} rows", scene.questions.several(), named=False)

    def _ask(self, what: str, rows: int, *, named: bool) -> None:
        unit = scene.questions.customer()
        instances = scene.questions.instances(rows, named=named)
        body, headers = scene.questions.addressed(unit, instances)
        asked = scene.judge.asked() if scene.judge is not None else None
        with self.client.post(
            "/predict", json=body, headers=headers, name=what, catch_response=True
        ) as response:
            try:
                commit = response.headers.get("Gateway-Commit") if response.headers else None
                answer = said(response.status_code, response.content or b"", commit, rows)
            except BadAnswer as error:
                response.failure(str(error))
                return
            if scene.judge is not None and asked is not None:
                complaint = scene.judge.complaint(asked, unit, answer.branch, answer.commit)
                if complaint is not None:
                    response.failure(complaint)
