"""What experiments count is what the journal says, whatever is killed and however it is cut."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from experimenting import SPAN, Monitor, told
from journalling import EXP, PROD, World, counted_anew, fingerprint

from gateway.experiments.cells import Cell, CellKey
from gateway.store.ledger import Ledger


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "journal", seed=7)


@pytest.fixture
def monitor(tmp_path: Path, world: World) -> Iterator[Monitor]:
    monitor = Monitor(tmp_path, world)
    yield monitor
    monitor.end()


def test_cells_are_what_the_journal_adds_up_to(world: World, monitor: Monitor) -> None:
    world.live(60)
    world.weights = {PROD: 80.0, EXP: 20.0}
    world.live(40)
    world.contents[EXP] = fingerprint("e")
    world.live(40)
    monitor.step()
    expected = counted_anew(world.lines, SPAN)
    assert len({key[0] for key in expected}) == 2  # contrasts
    assert len({key[2] for key in expected}) == 3  # epochs
    assert told(monitor.cells()) == expected
    found = msgspec.json.decode(monitor.ledger.recall("experiment")["state"])
    assert found["excluded"]["excluded"] > 10


def test_looks_cuts_and_kills_change_no_sum(world: World, monitor: Monitor) -> None:
    for turn in range(30):
        world.live(world.random.choice([1, 3, 7]))
        what = world.random.choice(["step", "seal", "kill", "front", "weights", "content"])
        if what == "seal":
            world.journal.seal()
        elif what == "kill":
            monitor.step()
            monitor.kill()
        elif what == "front":
            world.begin(f"{turn + 1:08x}")
        elif what == "weights":
            world.weights = {PROD: 50.0, EXP: float(world.random.choice([5, 50, 90]))}
        elif what == "content":
            world.contents[EXP] = fingerprint(world.random.choice("bcd"))
        monitor.step()
    assert told(monitor.cells()) == counted_anew(world.lines, SPAN)


def test_a_chunk_that_comes_again_in_parts_is_not_counted_again(
    world: World, monitor: Monitor
) -> None:
    """As from a Redis that was emptied, after its file here was done with."""
    world.live(20)
    world.journal.seal()
    monitor.step()
    [file] = world.folder.glob("*/*.jsonl")
    part = file.with_suffix(".open")
    content = file.read_bytes()
    file.unlink()
    part.write_bytes(content[: len(content) // 2])
    monitor.step()
    part.write_bytes(content)
    monitor.step()
    part.rename(file)
    monitor.step()
    assert told(monitor.cells()) == counted_anew(world.lines, SPAN)


def test_a_turn_that_fails_anywhere_is_as_if_it_had_not_been(
    world: World, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"left": 0}
    keep = Ledger.keep_fresh

    def fails(self: Ledger, cells: dict[CellKey, Cell]) -> None:
        keep(self, cells)
        calls["left"] -= 1
        if calls["left"] == 0:
            raise OSError("no room")

    monkeypatch.setattr(Ledger, "keep_fresh", fails)
    for turn in range(12):
        world.live(5)
        calls["left"] = turn + 1
        while calls["left"] > 0:
            world.live(1)
            with contextlib.suppress(OSError):
                monitor.step()
    calls["left"] = -1
    monitor.step()
    assert told(monitor.cells()) == counted_anew(world.lines, SPAN)
