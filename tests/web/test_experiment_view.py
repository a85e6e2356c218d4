"""What the monitor writes of the experiment is what the gateway answers, as soon as it changed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import Mock

import pytest
from experimentdocs import as_json, contrast, document
from starlette.requests import Request

from gateway.errors import NotFound, StateError
from gateway.experiments.document import ExperimentReadout
from gateway.names import Branch
from gateway.routing import Routing
from gateway.web.experiment import ExperimentPage


class Clock:
    """Stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def troubles() -> list[str | None]:
    """What the monitor says; the last one counts."""
    return [None]


@pytest.fixture
def page(tmp_path: Path, clock: Clock, troubles: list[str | None]) -> ExperimentPage:
    names = dict.fromkeys(map(Branch, ("prod", "exp", "team/new")))
    config = SimpleNamespace(
        state_dir=tmp_path, baseline=Branch("prod"), salt="here", branches=names
    )
    routing = SimpleNamespace(config=config, epoch="e" * 12)
    return ExperimentPage(cast("Routing", routing), lambda: troubles[-1], clock)


def asked(page: ExperimentPage, query: str = "") -> bytes:
    request = Request({"type": "http", "query_string": query.encode(), "headers": []})
    return bytes(asyncio.run(page.answer(request)).body)


def put(folder: Path, found: ExperimentReadout | bytes) -> bytes:
    body = found if isinstance(found, bytes) else as_json(found)
    beside = folder / "beside"
    beside.write_bytes(body)
    beside.rename(folder / "experiment.json")
    return body


def test_it_is_handed_on_byte_by_byte(page: ExperimentPage, tmp_path: Path) -> None:
    body = put(tmp_path, b" " + as_json(document()) + b"\n")
    assert asked(page) == body


def test_the_file_is_looked_at_once_a_second_and_read_when_it_changed(
    page: ExperimentPage, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(tmp_path, document())
    assert asked(page) == first
    second = put(tmp_path, document(salt="other"))
    clock.now += 0.9
    assert asked(page) == first
    clock.now += 0.2
    assert asked(page) == second
    reads = Mock(wraps=Path.read_bytes)
    monkeypatch.setattr(Path, "read_bytes", reads)
    clock.now += 2
    assert asked(page) == second
    reads.assert_not_called()
    (tmp_path / "experiment.json").unlink()
    clock.now += 2
    assert json.loads(asked(page))["contrasts"] == []
    assert asyncio.run(page.look()) is None


def test_nothing_yet_is_the_whole_shape_with_the_reason(page: ExperimentPage) -> None:
    found = json.loads(asked(page))
    assert found.keys() == json.loads(as_json(document())).keys()
    assert found["trouble"] == "the monitor has not written a read-out yet"
    told = [found[name] for name in ("baseline", "salt", "epoch", "contrasts")]
    assert told == ["prod", "here", "e" * 12, []]


def test_experiments_that_stand_still_are_told_of_with_what_was_known(
    page: ExperimentPage, tmp_path: Path, troubles: list[str | None]
) -> None:
    troubles.append("no room")
    assert json.loads(asked(page))["trouble"] == "no room"
    body = put(tmp_path, document(contrast("exp")))
    troubles.append(None)
    page._next_look = 0.0
    assert asked(page) == body
    troubles.append("experiments stand still")
    for query in ("", "candidate=exp"):
        found = json.loads(asked(page, query))
        assert found["trouble"] == "experiments stand still"
        assert [one["candidate"] for one in found["contrasts"]] == ["exp"]


def test_one_candidate_is_asked_for_and_what_is_of_all_stays(
    page: ExperimentPage, tmp_path: Path
) -> None:
    put(tmp_path, document(contrast("exp"), contrast("old", "stale")))
    found = json.loads(asked(page, "candidate=exp"))
    assert [one["candidate"] for one in found["contrasts"]] == ["exp"]
    assert found["allocation"].keys() == {"exp"}
    assert found["excluded"] == {"excluded": 812, "override": 2}
    found = json.loads(asked(page, "candidate=old"))
    assert [one["status"] for one in found["contrasts"]] == ["stale"]
    assert found["allocation"] == {}


def test_a_branch_of_which_nothing_is_known_is_told_from_one_that_is_none(
    page: ExperimentPage, tmp_path: Path
) -> None:
    put(tmp_path, document(contrast("old", "stale")))
    found = json.loads(asked(page, "candidate=team/new"))
    assert found["contrasts"] == []
    assert found["warnings"] == ["nothing was measured of team/new yet"]
    with pytest.raises(NotFound, match="'prod' is the baseline, and not compared with itself; the"):
        asked(page, "candidate=prod")
    for name in ("gone", ""):
        with pytest.raises(NotFound, match=f"no candidate '{name}'; there are: exp, old, team/new"):
            asked(page, f"candidate={name}")


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"written": 1}', b"[]"])
def test_what_is_no_read_out_is_handed_on_but_neither_split_nor_measured(
    page: ExperimentPage, tmp_path: Path, body: bytes
) -> None:
    put(tmp_path, body)
    assert asked(page) == body
    assert asyncio.run(page.look()) is None
    with pytest.raises(StateError, match=r"experiment\.json: is no read-out of this version: "):
        asked(page, "candidate=exp")


def test_a_file_that_cannot_be_read_is_named(
    page: ExperimentPage, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "experiment.json").mkdir()
    with pytest.raises(StateError, match=r"experiment\.json: cannot be read: Is a directory"):
        asked(page)
    assert asyncio.run(page.look()) is None
    (tmp_path / "experiment.json").rmdir()
    body = put(tmp_path, document())
    clock.now += 2
    assert asked(page) == body


def test_many_who_ask_at_once_make_one_look(
    page: ExperimentPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, document())
    looks = Mock(wraps=page._read)
    monkeypatch.setattr(page, "_read", looks)

    async def many() -> list[ExperimentReadout | None]:
        return await asyncio.gather(*(page.look() for _ in range(20)))

    assert asyncio.run(many()) == [document()] * 20
    looks.assert_called_once()
