"""Reading chunks: whole, torn, damaged, and of later versions."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from chunkfiles import WRITER, decision, epoch, header, log_line, request, schema, write

from gateway.chunks import BadLine, Chunk, ChunkError, ChunkKey, EpochRecord, Request, sealed_chunks


def read(path: Path, *, sealed: bool = True) -> tuple[list[object], int]:
    with Chunk(path, sealed=sealed) as chunk:
        return list(chunk), chunk.skipped


def test_every_kind_of_record_is_read(tmp_path: Path) -> None:
    lines = [header(), schema(["a"], [0, 1]), epoch(), request(1), decision(), log_line()]
    records, skipped = read(write(tmp_path, lines))
    assert [type(record).__name__ for record in records] == [
        "Schema",
        "EpochRecord",
        "Request",
        "Decision",
        "Log",
    ]
    assert skipped == 0
    assert isinstance(records[1], EpochRecord)
    assert records[1].weights == {"prod": 90.0}


def test_records_of_a_later_version_are_counted_and_skipped(tmp_path: Path) -> None:
    later = {"t": "foresight", "anything": [1]}
    records, skipped = read(write(tmp_path, [header(v=2, new=1), later, request(1, new_field=1)]))
    assert [type(record) for record in records] == [Request]
    assert skipped == 1


@pytest.mark.parametrize(
    "bad",
    [
        b"{torn\n",
        b'{"t":"request"}\n',
        b"[]\n",
        b"\n",
        b"\xff\xfe\n",
        json.dumps(request(9, branch="a..b")).encode() + b"\n",
        json.dumps(request(9)).encode().replace(b'"x"', b'"\xff"') + b"\n",
        json.dumps(request(9, instances=[1])).encode().replace(b"[1]", b"[" * 9999 + b"]" * 9999)
        + b"\n",
    ],
)
def test_a_bad_line_is_named_by_file_and_line_and_the_rest_is_read(
    tmp_path: Path, bad: bytes
) -> None:
    records, _ = read(write(tmp_path, [header(), request(1), bad, request(2)]))
    assert [type(record) for record in records] == [Request, BadLine, Request]
    assert isinstance(records[1], BadLine)
    assert records[1].where == f"{WRITER}/00000001.jsonl:3"


def test_a_torn_last_line_is_bad_in_a_sealed_chunk_and_not_there_yet_in_an_open_one(
    tmp_path: Path,
) -> None:
    lines: list[Any] = [header(), request(1), b'{"t":"request","ts":']
    assert [type(r) for r in read(write(tmp_path, lines))[0]] == [Request, BadLine]
    opened = write(tmp_path, lines, suffix=".open")
    assert [type(record) for record in read(opened, sealed=False)[0]] == [Request]


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (b"", "not a chunk's header"),
        (b'{"t":"chunk","v":1}\n', "missing required field"),
        (json.dumps(request(1)).encode() + b"\n", "must be the chunk's header"),
        (json.dumps(header(2)).encode() + b"\n", f"the header of chunk {WRITER}/2"),
        (json.dumps(header(opened="soon")).encode() + b"\n", "`opened` must be a time"),
    ],
)
def test_a_chunk_without_its_header_is_an_error_that_says_where(
    tmp_path: Path, first: bytes, says: str
) -> None:
    path = write(tmp_path, [header()])
    path.write_bytes(first)
    with pytest.raises(ChunkError, match=says) as caught:
        read(path)
    assert caught.value.where == f"{WRITER}/00000001.jsonl:1"


def test_sealed_chunks_come_oldest_writer_first_and_by_number(tmp_path: Path) -> None:
    for number, (writer, chunk) in enumerate([("ffffffff", 9), ("ffffffff", 10), ("00000000", 1)]):
        path = write(tmp_path, [header(chunk, writer=writer)])
        os.utime(path, (1000 + number, 1000 + number))
    os.utime(tmp_path / "ffffffff" / "00000009.jsonl", (1001, 1001))
    os.utime(tmp_path / "ffffffff" / "00000010.jsonl", (1000, 1000))
    write(tmp_path, [header(2, writer="00000000")], suffix=".open")
    (tmp_path / "stranger").mkdir()
    (tmp_path / "00000000" / "00000003.unreadable").touch()
    assert [chunk.key for chunk in sealed_chunks(tmp_path)] == [
        ChunkKey("ffffffff", 9),
        ChunkKey("ffffffff", 10),
        ChunkKey("00000000", 1),
    ]


def test_no_journal_has_no_chunks(tmp_path: Path) -> None:
    assert sealed_chunks(tmp_path / "absent") == []
