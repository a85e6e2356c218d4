"""The journal loses no whole line, keeps no half one, and stays within its bound."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from gateway.journal import Journal, JournalFull

NOW = "2026-11-23T10:00:00.123Z"


def journal(folder: Path, *, writer: str = "a1b2c3d4", limit: int = 10**6) -> Journal:
    return Journal(folder, writer, limit_bytes=limit, header=lambda: {"sample_rows": "all"})


def sealed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jsonl"))


def test_a_chunk_begins_with_its_header_and_is_renamed_when_sealed(tmp_path: Path) -> None:
    written = journal(tmp_path)
    assert not written.seal()
    written.append(b'{"t":"log"}\n', 0, NOW)
    assert sealed(tmp_path) == []
    assert written.seal()
    written.append(b'{"t":"log"}\n', 0, NOW)
    written.seal()
    assert sealed(tmp_path) == ["a1b2c3d4/00000001.jsonl", "a1b2c3d4/00000002.jsonl"]
    header, line = (tmp_path / "a1b2c3d4/00000002.jsonl").read_text().splitlines()
    assert json.loads(header) == {
        "t": "chunk",
        "v": 1,
        "writer": "a1b2c3d4",
        "chunk": 2,
        "opened": NOW,
        "sample_rows": "all",
    }
    assert line == '{"t":"log"}'


def test_a_new_start_seals_what_a_killed_one_left_without_its_torn_line(tmp_path: Path) -> None:
    killed = journal(tmp_path, writer="00000001")
    killed.append(b'{"n":1}\n', 1, NOW)
    killed.append(b'{"n":2', 1, NOW)
    (tmp_path / "00000002").mkdir()
    (tmp_path / "00000002" / "00000001.open").write_bytes(b'{"t":"chu')
    assert journal(tmp_path).recover() == 1
    assert sealed(tmp_path) == ["00000001/00000001.jsonl"]
    lines = (tmp_path / "00000001/00000001.jsonl").read_text().splitlines()
    assert lines[1:] == ['{"n":1}']
    assert not (tmp_path / "00000002").exists()


def test_the_bound_counts_what_is_sealed_until_it_is_taken_away(tmp_path: Path) -> None:
    written = journal(tmp_path, limit=600)
    line = b"x" * 199 + b"\n"
    written.append(line, 1, NOW)
    written.seal()
    written.append(line, 1, NOW)
    with pytest.raises(JournalFull):
        written.append(line, 1, NOW)
    (tmp_path / "a1b2c3d4/00000001.jsonl").unlink()
    written.measure()
    written.append(line, 1, NOW)
    written.seal()
    assert (tmp_path / "a1b2c3d4/00000002.jsonl").read_bytes().count(line) == 2


def test_a_partly_written_line_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = journal(tmp_path)
    written.append(b"first\n", 1, NOW)
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    with pytest.raises(JournalFull):
        written.append(b"second\n", 1, NOW)
    monkeypatch.undo()
    # Whoever reads along may have seen the part: nothing follows in its place.
    written.append(b"third\n", 1, NOW)
    written.seal()
    texts = [(tmp_path / f"a1b2c3d4/0000000{number}.jsonl").read_text() for number in (1, 2)]
    assert [text.splitlines()[1:] for text in texts] == [["first"], ["third"]]


def test_a_partly_written_header_leaves_no_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = journal(tmp_path)
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    for _ in range(2):
        with pytest.raises(JournalFull):
            written.append(b"first\n", 1, NOW)
        assert list((tmp_path / "a1b2c3d4").iterdir()) == []
    monkeypatch.undo()
    written.append(b"first\n", 1, NOW)
    written.seal()
    assert (tmp_path / "a1b2c3d4/00000001.jsonl").read_text().splitlines()[1:] == ["first"]


def test_a_full_disk_is_told_and_a_chunk_that_could_not_begin_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = journal(tmp_path)

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(JournalFull, match="No space left"):
        written.append(b"first\n", 1, NOW)
    monkeypatch.undo()
    assert list(tmp_path.rglob("*.open")) == []
    written.append(b"second\n", 1, NOW)
    written.seal()
    assert sealed(tmp_path) == ["a1b2c3d4/00000001.jsonl"]


def test_syncing_beside_sealing_is_harmless(tmp_path: Path) -> None:
    written = journal(tmp_path)
    written.sync()
    written.append(b"first\n", 1, NOW)
    written.sync()
    written.seal()
    written.sync()
    assert sealed(tmp_path) == ["a1b2c3d4/00000001.jsonl"]
