"""The flat file of a branch, from its tip and its side branch."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from chunkfiles import decision, header, request, request_id, write
from gitrepo import Remote
from mounted import Mounted

from gateway.chunks import Chunk
from gateway.errors import ContentError, MissingRef
from gateway.layout import Kind
from gateway.monitoring.export import export
from gateway.monitoring.segments import DECISION_COLUMNS, PREDICTION_COLUMNS, contents_of
from gateway.names import Branch
from gateway.repositories.folder import Folder

PROD = Branch("prod")


def files(folder: Path, chunk: int, opened: str) -> dict[str, bytes | str | None]:
    lines = [header(chunk, opened=opened), request(chunk), request(100, "dev"), decision()]
    with Chunk(write(folder, lines)) as read:
        return {segment.path: segment.content for segment in contents_of(read).segments}


Place = Remote | Mounted


def exported(place: Place, folder: Path, kind: Kind = "predictions") -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    repository = Folder(place.path) if isinstance(place, Mounted) else str(place.path)
    return b"".join(export(repository, PROD, kind, environment)).decode()


@pytest.fixture(params=["git", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A repository of each kind in turn."""
    return Remote(tmp_path / "r.git") if request.param == "git" else Mounted(tmp_path / "mnt")


def put(place: Place, branch: str, files: dict[str, bytes | str | None]) -> None:
    if isinstance(place, Remote):
        place.commit(branch, files)
    else:
        place.write(branch, {"models/m.pkl": "x", **files})


def test_all_rows_of_tip_and_side_branch_come_once_and_in_time_order(
    place: Place, tmp_path: Path
) -> None:
    first, second, third, fourth = (
        files(tmp_path, chunk, opened)
        for chunk, opened in [
            (10, "2026-11-22T23:00:00Z"),
            (2, "2026-11-23T09:00:00Z"),
            (3, "2026-11-23T09:30:00Z"),
            (4, "2026-11-23T08:00:00+00:00"),
        ]
    )
    put(place, "prod", {**second, **first, "monitoring/predictions/prod/notes.csv": "mine"})
    put(place, "gateway-monitoring/prod", {**third, **fourth, **second})
    text = exported(place, tmp_path)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["request_id"] for row in rows] == [request_id(n) for n in (10, 4, 2, 3)]
    assert text.splitlines()[0] == ",".join(PREDICTION_COLUMNS)
    decisions = exported(place, tmp_path, "decisions").splitlines()
    assert decisions[0] == ",".join(DECISION_COLUMNS)
    assert len(decisions) == 5


def test_more_segments_than_are_read_at_once_all_come(place: Place, tmp_path: Path) -> None:
    everything: dict[str, bytes | str | None] = {}
    for chunk in range(1, 301):
        everything |= files(tmp_path, chunk, "2026-11-23T09:00:00Z")
    put(place, "prod", everything)
    rows = exported(place, tmp_path).splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == [request_id(n) for n in range(1, 301)]


def test_a_branch_without_rows_has_a_header_only(place: Place, tmp_path: Path) -> None:
    put(place, "prod", {"README": "x"})
    assert exported(place, tmp_path) == ",".join(PREDICTION_COLUMNS) + "\n"


def test_a_branch_that_is_not_there_is_an_error_before_the_first_byte(
    place: Place, tmp_path: Path
) -> None:
    put(place, "other", {"README": "x"})
    with pytest.raises(MissingRef):
        exported(place, tmp_path)


def test_a_segment_that_a_person_changed_is_named(place: Place, tmp_path: Path) -> None:
    path = next(iter(files(tmp_path, 1, "2026-11-23T09:00:00Z")))
    put(place, "prod", {path.replace("/dev/", "/prod/"): "a,b\n1,2\n"})
    with pytest.raises(ContentError, match="someone changed it"):
        exported(place, tmp_path)
