"""Branches that mean harm: each is contained, the good one answers on, and status names what was
tried. Once with every layer, and once where the kernel has no Landlock.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hostile.crowd import Crowd
from hostile.without_landlock import PREFIX
from waiting import wait_until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's"),
    pytest.mark.timeout(900),
]

NOT_PERMITTED = "PermissionError"
WITH, WITHOUT = "with every layer", "without Landlock"


@dataclass(frozen=True)
class Sin:
    """What one branch is asked, what it must be answered, and what status says it tried.

    `freed` is what it is answered where nothing but Landlock would have stopped it.
    """

    row: Callable[[Crowd], Any]
    answer: str
    attempt: str | None
    freed: str | None = None


def nothing(crowd: Crowd) -> Any:
    return 1


def of_prod(crowd: Crowd) -> Any:
    return crowd.pid


def prods_snapshot(crowd: Crowd) -> Any:
    fingerprint = crowd.gateway.branch("prod")["serving"]["fingerprint"]
    return str(crowd.places.state / "snapshots" / fingerprint)


def the_journal(crowd: Crowd) -> Any:
    return str(crowd.chunks()[0])


def the_victim(crowd: Crowd) -> Any:
    return str(crowd.places.victim)


def a_listener(crowd: Crowd) -> Any:
    return crowd.home.getsockname()[1]


SINS = {
    "reads_the_gateways_environment": Sin(nothing, NOT_PERMITTED, r"reads /proc/\d+/environ"),
    "opens_the_journal": Sin(the_journal, NOT_PERMITTED, r"reads .*/journal/", freed=r"\[\d+\]"),
    "opens_another_snapshot": Sin(
        prods_snapshot, NOT_PERMITTED, r"reads .*/src/serve.py", freed="def predict"
    ),
    "connects_out": Sin(a_listener, NOT_PERMITTED, "opens a socket"),
    "listens": Sin(nothing, NOT_PERMITTED, "opens a socket"),
    "forks_without_end": Sin(nothing, NOT_PERMITTED, "makes a process"),
    "fills_memory": Sin(nothing, "MemoryError", "takes more memory"),
    "fills_disk": Sin(nothing, "filled its scratch folder", "filled its scratch folder"),
    "kills_its_parent": Sin(nothing, NOT_PERMITTED, r"signals process \d+"),
    "starves_its_parent": Sin(nothing, NOT_PERMITTED, r"limits process \d+"),
    "traces_its_sibling": Sin(of_prod, "system call", "system call"),
    "writes_to_every_descriptor": Sin(nothing, "written", None),
    "exits_at_once": Sin(nothing, "exited with code 0", None),
    "leaves_a_subprocess": Sin(nothing, NOT_PERMITTED, "runs sleep"),
    "poisons_importlib": Sin(
        nothing, NOT_PERMITTED, r"writes .*was_here.py", freed=f"written|{NOT_PERMITTED}"
    ),
    "locks_files_away": Sin(the_victim, "done", r"changes .*/victim"),
    "waits_for_its_parents_end": Sin(nothing, "system call", "system call"),
    "asks_the_kernel_for_more": Sin(nothing, NOT_PERMITTED, None),
}
#: What is tried by loading: the reason of the quarantine, and the attempt.
LOADED = {
    "unpickles_a_second_file": (NOT_PERMITTED, r"reads .*/second.joblib"),
    "maps_over_the_state": (NOT_PERMITTED, r"writes .*/victim"),
    "runs_a_command_compressed": ("model is a int", "runs a command"),
}


@pytest.fixture(scope="module", params=[WITH, WITHOUT])
def crowd(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crowd]:
    folder = tmp_path_factory.mktemp("hostile") / "crowd"
    crowd = Crowd(folder, PREFIX if request.param == WITHOUT else [])
    try:
        crowd.start()
        yield crowd
    finally:
        crowd.gateway.kill()
        crowd.home.close()
        for path in Path(sys.prefix).rglob("hostile_branch_was_here.py"):
            path.unlink()
        print(crowd.gateway.words()[-4000:])  # noqa: T201


@pytest.fixture
def landlock(crowd: Crowd) -> bool:
    return "landlock" in crowd.containment("prod")["holds"]


def tried(crowd: Crowd, branch: str, what: str) -> None:
    def told() -> bool:
        attempts = crowd.containment(branch)["attempts"]
        return any(re.search(what, one["what"]) for one in attempts)

    wait_until(told, describe=lambda: crowd.containment(branch))


def test_status_says_which_layers_hold(crowd: Crowd, request: pytest.FixtureRequest) -> None:
    found = crowd.containment("prod")
    assert {"limits", "privileges", "parent_death", "seccomp"} <= found["holds"].keys()
    lacking = WITHOUT in request.node.name
    assert ("landlock" in found["lacks"]) == lacking
    layer = 'gateway_branch_contained{branch="prod",layer="landlock"}'
    assert crowd.gateway.metric(layer) == (0 if lacking else 1)
    assert found["attempts"] == []


@pytest.mark.parametrize("name", SINS)
def test_it_is_stopped_and_told_of_and_the_others_answer(
    crowd: Crowd, landlock: bool, name: str
) -> None:
    sin = SINS[name]
    said = crowd.ask(name, sin.row(crowd)).text
    expected = sin.answer if landlock or sin.freed is None else sin.freed
    assert re.search(expected, said)
    if sin.attempt is not None:
        tried(crowd, name, sin.attempt)
    assert crowd.gateway.predict([[1], [2]]).json()["predictions"] == ["good", "good"]
    assert crowd.worker("prod") == crowd.pid


@pytest.mark.parametrize("name", LOADED)
def test_a_model_that_acts_while_it_is_loaded_is_refused(
    crowd: Crowd, landlock: bool, name: str
) -> None:
    reason, attempt = LOADED[name]
    tried(crowd, name, attempt)
    assert not crowd.places.marker.exists()
    if landlock:
        status = crowd.gateway.branch(name)
        assert status["state"] == "failed"
        assert reason in status["reason"]
        assert crowd.places.victim.read_text() == "what the gateway needs"


def test_after_all_of_them_the_gateway_is_what_it_was(crowd: Crowd, landlock: bool) -> None:
    assert crowd.gateway.process is not None
    assert crowd.gateway.process.poll() is None
    assert crowd.places.victim.stat().st_mode & 0o400
    if landlock:
        assert not [*Path(sys.prefix).rglob("hostile_branch_was_here.py")]
    assert crowd.gateway.metric('gateway_branch_attempts_total{branch="prod"}') == 0
    assert crowd.gateway.stop() == 0
    scratch = crowd.places.state / "scratch"
    assert not any(scratch.iterdir())
