"""What is read along with its writer: every record once, wherever a look cuts it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from experimenting import SPAN, Monitor, told
from journalling import World, counted_anew

from gateway.chunks import ChunkKey
from gateway.monitoring.experiments.tail import Answered, Journaled, pieces


def line(number: int, **changes: Any) -> bytes:
    request = {
        "t": "request",
        "ts": "2026-11-23T10:00:00.000Z",
        "request_id": f"019ab697-e800-7000-8000-{number:012x}",
        "status": "ok",
        "rows": 1,
        "unit": f"{number:016x}",
        "branch": "exp",
        "assigned": "exp",
        "reason": "split",
        "epoch": "e" * 12,
    }
    return json.dumps({**request, **changes}).encode() + b"\n"


def opened(folder: Path) -> Journaled:
    return Journaled(ChunkKey("a1b2c3d4", 1), folder / "00000001.open", sealed=False)


def numbers(records: list[Any]) -> list[int]:
    assert all(isinstance(one, Answered) for one in records)
    return [int(one.unit, 16) for one in records]


def test_a_line_that_is_completed_during_the_look_is_read_once(tmp_path: Path) -> None:
    chunk = opened(tmp_path)
    second = line(2)
    chunk.path.write_bytes(line(1) + second[:40])
    look = pieces(chunk, 0)
    first = next(look)
    with chunk.path.open("ab") as file:
        file.write(second[40:] + line(3))
    found = [first, *look]
    found += pieces(chunk, found[-1].end)
    assert numbers([record for piece in found for record in piece.records]) == [1, 2, 3]
    assert found[-1].end == chunk.path.stat().st_size


def test_looks_at_any_byte_find_each_record_once(tmp_path: Path) -> None:
    luck = random.Random(5)
    chunk = opened(tmp_path)
    text = b"".join(map(line, range(40)))
    place, found, written = 0, [], 0
    chunk.path.touch()
    while written < len(text):
        more = luck.choice([1, 7, 150, 400])
        with chunk.path.open("ab") as file:
            file.write(text[written : written + more])
        written += more
        for piece in pieces(chunk, place):
            found += piece.records
            place = piece.end
    assert numbers(found) == list(range(40))


@pytest.mark.parametrize(
    "wrong",
    [
        {"ts": "yesterday"},
        {"request_id": "1"},
        {"unit": "me"},
        {"branch": "a..b"},
        {"assigned": ""},
    ],
    ids=str,
)
def test_a_line_of_which_nothing_can_be_made_is_passed_over(
    tmp_path: Path, wrong: dict[str, str]
) -> None:
    chunk = opened(tmp_path)
    chunk.path.write_bytes(line(1) + line(2, **wrong) + line(3))
    assert numbers([record for piece in pieces(chunk, 0) for record in piece.records]) == [1, 3]


def test_a_chunk_that_lost_its_end_is_read_to_where_it_goes(tmp_path: Path) -> None:
    """As after a power cut: more of it was counted than the disk had taken."""
    world = World(tmp_path / "journal", seed=2)
    monitor = Monitor(tmp_path, world)
    world.live(5)
    monitor.step()
    (path,) = world.folder.glob("*/*.open")
    path.write_bytes(path.read_bytes()[:-700])
    world.begin("0f0f0f0f")
    world.live(5)
    monitor.step()
    assert told(monitor.cells()) == counted_anew(world.lines, SPAN)
    monitor.end()
