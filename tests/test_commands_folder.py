"""An operator's words as files: whole, oldest first, and never in the way of another."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import msgspec
import pytest

from gateway.commands_folder import FOLDER, MOST, MOST_BYTES, done, is_waiting, send, waiting
from gateway.experiments.facts import Command

HOLD = Command("", "hold", "team/exp", 1_764_000_000.5, out=True, reason="on call")


def test_what_is_sent_waits_until_it_is_done(tmp_path: Path) -> None:
    assert waiting(tmp_path) == []
    sent = send(tmp_path, HOLD)
    assert sent.id
    assert waiting(tmp_path) == [sent]
    assert is_waiting(tmp_path, sent)
    assert done(tmp_path, sent)
    assert not is_waiting(tmp_path, sent)
    assert waiting(tmp_path) == []
    assert not done(tmp_path, sent)


def test_the_oldest_comes_first_and_two_of_one_moment_are_two(tmp_path: Path) -> None:
    later = send(tmp_path, msgspec.structs.replace(HOLD, at=HOLD.at + 1))
    first = [send(tmp_path, HOLD) for _ in range(3)]
    found = waiting(tmp_path)
    assert found[-1] == later
    assert {one.id for one in found[:-1]} == {one.id for one in first}
    assert len({one.id for one in found}) == 4


def test_nobody_else_may_read_or_write_them(tmp_path: Path) -> None:
    sent = send(tmp_path, HOLD)
    folder = tmp_path / FOLDER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (file,) = folder.iterdir()
    assert file.name == f"{sent.id}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"action": "promote"}', b"\xff", b" " * (MOST_BYTES + 1), b"[" * 5000],
    ids=range(6),
)
def test_what_is_no_command_is_put_aside_and_named_and_the_others_are_taken(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    sent = send(tmp_path, HOLD)
    (tmp_path / FOLDER / "0.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert waiting(tmp_path) == [sent]
    assert "0.json is no command, and is put aside as *.unreadable" in caplog.text
    assert (tmp_path / FOLDER / "0.json.unreadable").read_bytes() == content
    caplog.clear()
    assert waiting(tmp_path) == [sent]
    assert caplog.text == ""


def test_a_link_a_pipe_and_a_folder_are_no_commands(tmp_path: Path) -> None:
    sent = send(tmp_path, HOLD)
    folder = tmp_path / FOLDER
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_bytes(msgspec.json.encode(HOLD))
    (folder / "0.json").symlink_to(elsewhere)
    os.mkfifo(folder / "1.json")
    (folder / "2.json").mkdir()
    (folder / ".3.json.part").write_bytes(b"half")
    assert waiting(tmp_path) == [sent]
    names = {path.name for path in folder.iterdir()}
    aside = {f"{number}.json.unreadable" for number in range(3)}
    assert names == {".3.json.part", f"{sent.id}.json", *aside}


def test_its_name_is_the_files_whatever_stands_in_it(tmp_path: Path) -> None:
    """Else a forged one could have another file removed."""
    (tmp_path / FOLDER).mkdir()
    forged = msgspec.structs.replace(HOLD, id="../store")
    (tmp_path / FOLDER / "7.json").write_bytes(msgspec.json.encode(forged))
    (tmp_path / "store.json").touch()
    (found,) = waiting(tmp_path)
    assert done(tmp_path, found)
    assert (tmp_path / "store.json").exists()
    assert waiting(tmp_path) == []


def test_so_many_are_taken_in_one_look(tmp_path: Path) -> None:
    for number in range(MOST + 5):
        send(tmp_path, msgspec.structs.replace(HOLD, at=float(number)))
    found = waiting(tmp_path)
    assert [one.at for one in found] == list(range(MOST))
