"""A front's words reach its monitor at once, and nobody ever waits for anybody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.errors import StateError
from gateway.monitoring.ear import LOOK, REMOTE, listen, open_ear, say


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monitor.ear"


def heard(*parts: bytes) -> list[str]:
    """What a monitor does when the parts come one by one."""
    calls: list[str] = []
    receiving, sending = os.pipe()
    left = list(parts)

    def next_part() -> None:
        if left:
            os.write(sending, left.pop(0))
        else:
            os.close(sending)

    def look() -> None:
        calls.append("look")
        next_part()

    next_part()
    with os.fdopen(receiving, "rb", buffering=0) as pipe:
        listen(pipe, look, lambda: calls.append("elsewhere"), lambda: calls.append("end"))
    return calls


def test_any_byte_is_a_look_and_one_word_is_for_the_others_too() -> None:
    assert heard(b"look\n") == ["look", "end"]
    assert heard(b"x") == ["look", "end"]
    assert heard(REMOTE + b"\n") == ["elsewhere", "look", "end"]
    assert heard(b"look\nremote\nlook\n") == ["elsewhere", "look", "end"]


def test_a_word_that_comes_in_pieces_is_one_word() -> None:
    assert heard(b"look\nrem", b"ote\n") == ["look", "elsewhere", "look", "end"]
    assert heard(b"x" * 4096, b"remote\n") == ["look", "look", "end"]


def test_a_front_knows_whether_somebody_listens(path: Path) -> None:
    assert not say(path, LOOK)
    with open_ear(path) as ear:
        assert say(path)
        assert say(path, REMOTE)
        assert os.read(ear.fileno(), 100) == b"remote\n"
    assert not say(path, LOOK)
    with open_ear(path):
        assert say(path)


def test_a_monitor_that_hears_nothing_holds_up_no_front(path: Path) -> None:
    with open_ear(path):
        for _ in range(20_000):  # more than any pipe holds
            assert say(path, LOOK)


def test_what_is_no_pipe_is_not_written_to_and_makes_way_for_one(path: Path) -> None:
    path.write_text("mine")
    assert not say(path, LOOK)
    assert path.read_text() == "mine"
    link = path.with_name("link")
    link.symlink_to(path)
    assert not say(link, LOOK)
    with open_ear(path):
        assert say(path, LOOK)


def test_a_monitor_without_room_for_its_ear_says_where(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"gone/monitor\.ear.*no named pipe"):
        open_ear(tmp_path / "gone" / "monitor.ear")
