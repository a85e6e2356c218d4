"""What the tests share: a real remote, a real gateway process, and tools that must be there."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from answers import Answers
from gitrepo import Remote
from hypothesis import HealthCheck, settings
from lfsserver import LfsServer
from redisserver import SERVERS, RedisServer
from running import Gateway

#: The bound of csv's fields is the whole process'.
_CSV_FIELD = csv.field_size_limit()


@pytest.fixture(autouse=True)
def _same_csv_for_all() -> None:
    """What one test or fixture sets is no other test's."""
    csv.field_size_limit(_CSV_FIELD)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """An empty bare repository with a person's clone beside it."""
    return Remote(tmp_path / "project.git")


@pytest.fixture
def answers() -> Iterator[Answers]:
    """A server that answers what a test puts into its pages."""
    with Answers() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def silent_index() -> Iterator[str]:
    """The address of a package index that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/simple"


@pytest.fixture
def lfs() -> Iterator[LfsServer]:
    """A git-lfs server that runs."""
    with LfsServer() as server:
        yield server


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """An empty Redis of the test's own: once of each kind that there is."""
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[list[Gateway]]:
    """Append every gateway a test starts: they end with the test, and speak if it fails."""
    started: list[Gateway] = []
    yield started
    for gateway in started:
        gateway.kill()
        print(f"--- gateway {gateway.folder} ---\n{gateway.words()[-6000:]}")  # noqa: T201


# How fast a machine is, and what chance brings, is no fault. All else is as under CI, or without.
settings.register_profile(
    "any machine",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("any machine")

# A shell that runs this in the background has it ignore Ctrl-C, as all of its children would then.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: Where `make tools` puts checkers that the system does not bring.
_TOOLS = Path(__file__).parent.parent / ".tools" / "bin"
#: Where uv is: it comes with the gateway.
_OWN = Path(sys.executable).parent
os.environ["PATH"] += f"{os.pathsep}{_TOOLS}{os.pathsep}{_OWN}"


#: Rooms of few and long tests. They begin first, or the last of them would run alone at the end.
_LONG = ("stories", "loadtests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in _LONG)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        tool = mark.args[0]
        # Servers such as sshd are where only root's PATH leads.
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            text = f"{tool} is not installed"
            if os.environ.get("CI"):
                pytest.fail(f"{text}, and under CI that is a failure")
            pytest.skip(text)
