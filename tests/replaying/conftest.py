"""Two repositories for all tests here: making one takes a gateway."""

from __future__ import annotations

import pytest
from gitrepo import Remote
from replayworld import World, of_code, of_estimators, without_history

#: By the unit that sends it.
INSTANCES = {
    "array": [1, 2],
    "object": {"a": 1, "b": 2},
    "more": {"a": 1, "b": 2, "c": 3},
    "text": "word",
    "raise": "raise",
}


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A thousand rows of scikit-learn's models."""
    return of_estimators(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="package")
def coded(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A few rows of branches' own code, which starts in a blink."""
    return of_code(tmp_path_factory.mktemp("coded"), INSTANCES)


@pytest.fixture(scope="package")
def shortened(coded: World, tmp_path_factory: pytest.TempPathFactory) -> Remote:
    return without_history(coded, tmp_path_factory.mktemp("shortened"))
