"""Whatever stops, whoever leads: every line is taken and published once, and leaves no file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
import sharedwalk
from doorinmemory import InMemoryDoor, Memory
from sharedwalk import Monitor, Record, Walk

from gateway.chunks import ChunkKey
from gateway.shared import mirroring, shipping
from gateway.shared.held import Lease, Shipped
from gateway.shared.shipping import Shipper

RUNS = 200
STEPS, TURNS = 80, 15


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that chunks of a few lines are shipped, read and stopped in the middle."""
    monkeypatch.setattr(shipping, "_PIECE", 60)
    monkeypatch.setattr(shipping, "_CALL", 10)
    monkeypatch.setattr(shipping, "_STEP_BYTES", 900)
    monkeypatch.setattr(mirroring, "_PIECE", 70)
    monkeypatch.setattr(mirroring, "_CALL", 10)
    monkeypatch.setattr(mirroring, "_STEP_BYTES", 1500)
    monkeypatch.setattr(mirroring, "_COMPARED", 64)
    # Nothing here loses its power, and the disk would take most of the time.
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def run(folder: Path, seed: int) -> None:
    memory = Memory()
    walk = Walk(folder, seed, lambda: InMemoryDoor(memory), memory.empty, memory.expire)
    walk.go(STEPS)
    walk.live(TURNS)
    walk.end()
    walk.check()


def run_many(folder: Path, seeds: range) -> None:
    for seed in seeds:
        try:
            run(folder / str(seed), seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("first", range(0, RUNS, 50))
def test_any_interleaving_takes_every_line_once(tmp_path: Path, first: int) -> None:
    run_many(tmp_path, range(first, first + 50))


def test_a_walk_goes_everywhere(tmp_path: Path) -> None:
    """Else the others would prove little."""
    memory = Memory()
    emptied: list[int] = []

    def empty() -> None:
        emptied.append(memory.size())
        memory.empty()

    leaders: set[str] = set()
    rests: set[Path] = set()
    for seed in range(20):
        memory.empty()
        walk = Walk(tmp_path / str(seed), seed, lambda: InMemoryDoor(memory), empty, memory.expire)
        for _ in range(TURNS):
            walk.go(1)
            walk.live(1)
            leaders |= {f"{seed} {memory.lease.holder}"} if memory.lease else set()
            rests |= set(walk.folder.glob("*/journal/*/1?????????.jsonl"))
    assert max(emptied) > 500
    assert len(leaders) > 20
    assert rests


# Each of these is one line gone wrong, and must be found out.


def ship_blindly(
    self: Memory, key: ChunkKey, offset: int, data: bytes, *, sealed: bool, cap: int
) -> Shipped:
    """Without a look at the offset."""
    if key in self.done:
        return Shipped(0, done=True)
    self.chunks.setdefault(key, bytearray()).extend(data)
    if sealed:
        self.sealed.add(key)
    return Shipped(offset + len(data))


def forget_done(
    self: Memory, keys: Iterable[ChunkKey], cuts: Mapping[ChunkKey, int] | None = None
) -> None:
    """Whose bytes are dropped, but of which nothing is remembered."""
    for key in keys:
        self.chunks.pop(key, None)
        self.sealed.discard(key)


def call_done_at_once(self: Monitor) -> None:
    """Before what was taken is where the next holder finds it."""
    settled = {key for key in self.record.published if self.record.is_settled(key)}
    if self.lease is not None:
        self.door.call_done(self.lease, sorted(settled))


def delete_what_is_shipped(
    self: Shipper, file: shipping._File, has: int, look: shipping._Look
) -> None:
    """As if Redis were a disk."""
    self._delete(file, None, look)


def ship_torn_lines(data: bytes, rest_of_line: Callable[[], bytes]) -> bytes:
    return data


def forget_cuts_of_done(
    self: Memory, keys: Iterable[ChunkKey], cuts: Mapping[ChunkKey, int] | None = None
) -> None:
    for key in keys:
        self.chunks.pop(key, None)
        self.cuts.pop(key, None)
        self.sealed.discard(key)
        self.done[key] = None


def keep_no_rest(file: Path, key: ChunkKey, cut: int) -> None:
    pass


def remember_no_cut(self: Record, key: ChunkKey, cut: int) -> None:
    pass


def cut_in_a_line(
    door: InMemoryDoor, lease: Lease, key: ChunkKey, size: int, folder: Path, taken: float
) -> bool:
    return door.cut(lease, key, size, size)


def take_open_ones_again(self: Record, key: ChunkKey) -> bool:
    return False


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (Memory, "ship", ship_blindly),
        (Memory, "call_done", forget_done),
        (Monitor, "call_done", call_done_at_once),
        (Shipper, "_is_whole", delete_what_is_shipped),
        (shipping, "_whole_lines", ship_torn_lines),
        (Record, "is_finished", take_open_ones_again),
        (Memory, "call_done", forget_cuts_of_done),
        (shipping, "keep_rest", keep_no_rest),
        (Record, "learn", remember_no_cut),
        (sharedwalk, "cut_off", cut_in_a_line),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_walk_finds_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    wrong: Callable[..., object],
) -> None:
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises((AssertionError, ValueError)):
        run_many(tmp_path, range(200))
