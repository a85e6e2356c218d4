"""Small files of the state directory: whole or not there, and never trusted when damaged."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.errors import StateError
from gateway.names import Branch, Commit, Fingerprint
from gateway.served import Served, ServedFile
from gateway.state import StateDirectory, write_atomically

CONFIG = Config.model_validate(
    {"repository": "r", "baseline": "prod", "branches": {"prod": {"weight": 1}}}
)


def test_a_file_that_the_disk_took_only_a_part_of_does_not_replace_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "served.json"
    write_atomically(file, b"the old content")
    real, left = os.write, 4

    def nearly_full(fd: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(28, "No space left on device")
        taken = real(fd, data[:left])
        left -= taken
        return taken

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, b"the new content")
    assert file.read_bytes() == b"the old content"
    assert [path.name for path in tmp_path.iterdir()] == ["served.json"]


def test_what_the_disk_takes_in_parts_arrives_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    write_atomically(tmp_path / "file", b"longer than three bytes")
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == b"longer than three bytes"


@pytest.mark.parametrize("damaged", ["", "00", "not hex", "00" * 8])
def test_a_damaged_own_key_is_refused_and_never_used_as_a_weak_one(
    tmp_path: Path, damaged: str
) -> None:
    """An empty key would hash users' ids without any key, and say nothing."""
    state = StateDirectory(tmp_path)
    state.open()
    (tmp_path / "unit.key").write_text(damaged)
    with pytest.raises(StateError, match=r"unit\.key") as caught:
        state.unit_key(CONFIG, {})
    assert not damaged or damaged not in str(caught.value).replace(str(tmp_path), "")
    state.close()


@pytest.mark.parametrize(
    "damaged", ["", "[]", "null", "1", '{"prod": null}', '{"prod": []}', '{"..": {}}', "\x00"]
)
def test_a_damaged_memory_of_what_served_is_as_good_as_none(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "served.json"
    path.write_text(damaged)
    file = ServedFile(path)
    file.read()
    assert file.branches == {}


def test_what_could_not_be_remembered_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a restart would begin with what served before, and open another epoch."""
    served = Served(Commit("a" * 40), Commit("b" * 40), True, Fingerprint("c" * 32))
    file = ServedFile(tmp_path / "served.json")

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with contextlib.suppress(OSError):
        file.put(Branch("prod"), served)
    monkeypatch.undo()
    file.put(Branch("prod"), served)
    again = ServedFile(tmp_path / "served.json")
    again.read()
    assert again.branches == {"prod": served}
