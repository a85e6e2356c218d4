"""What the tests share: a real remote, a real gateway process, and tools that must be there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from gitrepo import Remote
from lfsserver import LfsServer
from running import Gateway


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """An empty bare repository with a person's clone beside it."""
    return Remote(tmp_path / "project.git")


@pytest.fixture
def lfs() -> Iterator[LfsServer]:
    """A git-lfs server that runs."""
    with LfsServer() as server:
        yield server


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[list[Gateway]]:
    """Append every gateway a test starts: they end with the test, and speak if it fails."""
    started: list[Gateway] = []
    yield started
    for gateway in started:
        gateway.kill()
        print(f"--- gateway {gateway.folder} ---\n{gateway.words()[-6000:]}")  # noqa: T201


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        tool = mark.args[0]
        # Servers such as sshd are where only root's PATH leads.
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            text = f"{tool} is not installed"
            if os.environ.get("CI"):
                pytest.fail(f"{text}, and under CI that is a failure")
            pytest.skip(text)
