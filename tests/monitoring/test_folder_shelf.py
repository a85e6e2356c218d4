"""Publishing into a mounted folder that people, programs and mounts move under it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chunkfiles import WRITER, decision, header, log_line, request, write
from mounted import Mounted, mounted, remount
from waiting import wait_until

from gateway.chunks import Chunk, ChunkKey
from gateway.errors import PushRefused, RemoteUnavailable
from gateway.layout import Segment, parse_path
from gateway.monitoring.commits import Wording
from gateway.monitoring.folder_shelf import FolderShelf
from gateway.monitoring.publisher import Policy, Publisher, side_branch
from gateway.monitoring.segments import contents_of
from gateway.names import Branch
from gateway.repositories.folder import Folder
from gateway.store import Store
from gateway.store.sqlite import SqliteStore

NOW = datetime(2026, 11, 23, 10, 20, tzinfo=UTC)
PROD = Branch("prod")
SIDE = str(side_branch(PROD))
POLICY = Policy("branch", timedelta(days=14), "first")
KEY = ChunkKey(WRITER, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Mounted:
    made = Mounted(tmp_path / "mnt")
    made.write("prod", {"models/m.pkl": "x"})
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with SqliteStore(tmp_path / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def publisher(folder: Mounted, store: Store) -> Publisher:
    return publisher_of(FolderShelf(Folder(folder.path)), store)


def publisher_of(shelf: FolderShelf, store: Store, now: datetime = NOW) -> Publisher:
    rng = random.Random(7)
    return Publisher(shelf, store, now=lambda: now, pause=lambda _: None, jitter=rng.random)


def segments(tmp_path: Path, chunk: int = 1, branch: str = "prod", **changes: Any) -> list[Segment]:
    lines = [header(chunk, **changes), request(chunk, branch), decision(branch), log_line(branch)]
    with Chunk(write(tmp_path / "journal", lines)) as opened:
        return list(contents_of(opened).segments)


def below(place: str, made: list[Segment]) -> list[str]:
    return sorted(f"{place}/{segment.path}" for segment in made)


def test_segments_appear_below_the_branch_and_are_confirmed(
    folder: Mounted, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    made = [*segments(tmp_path, 1), *segments(tmp_path, 2)]
    publisher.publish(PROD, made, POLICY)
    assert folder.files() == sorted(["prod/models/m.pkl", *below("prod", made)])
    for segment in made:
        path = folder.path / "prod" / segment.path
        assert path.read_bytes() == segment.content
        assert path.stat().st_mode & 0o444 == 0o444
    assert set(store.confirmed(KEY)) == {PROD}
    push = store.publication(PROD).last_push
    assert push is not None
    assert (push.segments, push.rows) == (6, 6)


def test_a_path_that_is_there_is_success_and_stays_as_it_is(
    folder: Mounted, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    made = segments(tmp_path)
    folder.write("prod", {made[0].path: "somebody's"})
    publisher.publish(PROD, made, POLICY)
    assert (folder.path / "prod" / made[0].path).read_text() == "somebody's"
    assert set(store.confirmed(KEY)) == {PROD}
    before = [(folder.path / name).stat().st_mtime_ns for name in folder.files()]
    store.forget(KEY)
    publisher.publish(PROD, made, POLICY)
    assert before == [(folder.path / name).stat().st_mtime_ns for name in folder.files()]
    assert set(store.confirmed(KEY)) == {PROD}


def test_a_reader_never_sees_a_part_of_a_segment(
    folder: Mounted, publisher: Publisher, tmp_path: Path
) -> None:
    large = b"x" * 50_000_000
    path = "logs/prod/2026-11-23/100000Z-00000000-7.jsonl"
    begun, over = threading.Event(), threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not over.is_set():
            begun.set()
            with contextlib.suppress(FileNotFoundError):
                seen.add((folder.path / "prod" / path).stat().st_size)

    reader = threading.Thread(target=read)
    reader.start()
    begun.wait()
    publisher.publish(PROD, [Segment(KEY, "logs", PROD, path, large, 1)], POLICY)
    wait_until(lambda: len(large) in seen)
    over.set()
    reader.join()
    assert seen == {len(large)}


def test_retention_deletes_old_segments_and_nothing_else(
    folder: Mounted, publisher: Publisher, tmp_path: Path
) -> None:
    old = "predictions/{}/2026-11-0{}/100000Z-00000000-1.csv"
    gone = [
        "monitoring/" + old.format("prod", 8),
        "monitoring/" + old.format("feature~x", 1),
        "logs/prod/2026-11-08/100000Z-00000000-1.jsonl",
    ]
    kept = [
        "models/m.pkl",
        "monitoring/" + old.format("prod", 9),
        "monitoring/predictions/prod/2026-11-08/notes.csv",
        "monitoring/mine/prod/2026-11-08/100000Z-00000000-1.csv",
        "data/predictions/prod/2026-11-08/100000Z-00000000-1.csv",
    ]
    folder.write("prod", dict.fromkeys([*gone, *kept], "x"))
    made = segments(tmp_path)
    publisher.publish(PROD, made, POLICY)
    assert folder.files() == sorted([*(f"prod/{name}" for name in kept), *below("prod", made)])
    assert not (folder.path / "prod/logs/prod/2026-11-08").exists()


def test_what_a_crash_left_is_cleaned_up_and_others_files_are_not(
    folder: Mounted, publisher: Publisher, tmp_path: Path
) -> None:
    made, other = segments(tmp_path, 1), segments(tmp_path, 2)
    parts = [_part(made[0].path), _part(other[0].path), _part(other[1].path)]
    notes = f"{made[0].path.rpartition('/')[0]}/.notes.part"
    folder.write("prod", dict.fromkeys([*parts, notes], "half"))
    long_ago = (NOW - timedelta(days=2)).timestamp()
    os.utime(folder.path / "prod" / parts[1], (long_ago, long_ago))
    recent = NOW.timestamp()
    os.utime(folder.path / "prod" / parts[2], (recent, recent))
    publisher.publish(PROD, made, POLICY)
    hidden = [name for name in folder.files() if "/." in name]
    assert hidden == sorted([f"prod/{notes}", f"prod/{parts[2]}"]), "that may be another gateway's"


def _part(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}.part"


# Where the branch does not take them


def test_a_sub_folder_that_is_gone_stays_so_and_its_rows_go_aside(
    folder: Mounted, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    folder.write("exp", {"models/m.pkl": "x"})
    shutil.rmtree(folder.path / "prod")
    first, second = segments(tmp_path, 1), segments(tmp_path, 2)
    publisher.publish(PROD, first, POLICY)
    assert folder.files() == sorted(["exp/models/m.pkl", *below(SIDE, first)])
    assert POLICY.in_force(store.publication(PROD)) == "side-branch"
    folder.write("prod", {"models/m.pkl": "x"})
    publisher.publish(PROD, second, POLICY)
    assert set(below("prod", second)) <= set(folder.files())
    assert POLICY.in_force(store.publication(PROD)) == "branch"


def test_the_side_branch_is_a_folder_beside_the_branches(
    folder: Mounted, publisher: Publisher, tmp_path: Path
) -> None:
    exp = Branch("team/exp")
    folder.write(exp, {"models/m.pkl": "x"})
    made = segments(tmp_path, 1, exp)
    publisher.publish(exp, made, Policy("side-branch", timedelta(days=14), "first"))
    aside = str(side_branch(exp))
    assert folder.files("gateway-monitoring/") == below(aside, made)
    assert folder.files("team/") == ["team/exp/models/m.pkl"]


def links_monitoring(root: Path, outside: Path) -> None:
    (root / "monitoring").symlink_to(outside)


def links_below_monitoring(root: Path, outside: Path) -> None:
    (root / "monitoring").mkdir()
    (root / "monitoring/predictions").symlink_to(outside)


def has_a_file_there(root: Path, outside: Path) -> None:
    (root / "monitoring").write_text("a person's notes")


def is_a_link_itself(root: Path, outside: Path) -> None:
    real = root.rename(root.with_name(".prod-1"))
    root.symlink_to(real.name)


@pytest.mark.parametrize(
    ("sin", "said"),
    [
        (links_monitoring, "monitoring is a file or a symbolic link there"),
        (links_below_monitoring, "predictions is a file or a symbolic link there"),
        (has_a_file_there, "monitoring is a file or a symbolic link there"),
        (is_a_link_itself, "prod: it is a symbolic link"),
    ],
)
def test_nothing_is_written_through_a_link_or_over_a_file(
    folder: Mounted,
    publisher: Publisher,
    store: Store,
    tmp_path: Path,
    sin: Callable[[Path, Path], None],
    said: str,
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    sin(folder.path / "prod", outside)
    before = [name for name in folder.files() if "predictions" not in name]
    made = segments(tmp_path)
    publisher.publish(PROD, made, POLICY)
    assert list(outside.iterdir()) == []
    assert folder.files("gateway-monitoring/") == below(SIDE, made)
    assert said in (store.publication(PROD).diverted or "")
    assert set(before) <= set(folder.files())


def test_a_link_swapped_in_at_the_last_moment_is_not_followed(
    folder: Mounted, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words come from a look before; the refusal itself must not depend on it."""
    outside = tmp_path / "outside"
    (outside / "models").mkdir(parents=True)
    (folder.path / "exp").mkdir()
    (folder.path / "prod").rename(folder.path / "was")
    (folder.path / "prod").symlink_to(outside)
    shelf = FolderShelf(Folder(folder.path))
    monkeypatch.setattr(shelf, "_refuse_link", lambda branch: None)
    with pytest.raises(PushRefused, match="prod is a file or a symbolic link there"):
        shelf.put(PROD, None, segments(tmp_path), [], NOW, Wording())
    assert [path.name for path in outside.iterdir()] == ["models"]


def test_a_path_that_is_not_a_segments_is_refused(folder: Mounted, tmp_path: Path) -> None:
    shelf = FolderShelf(Folder(folder.path))
    made = segments(tmp_path)[0]
    for path in ("README.md", "models/m.pkl", "../" + made.path, "monitoring/../../x"):
        wrong = Segment(made.key, made.kind, PROD, path, b"x", 1)
        with pytest.raises(ValueError, match="not a segment's path"):
            shelf.put(PROD, None, [wrong], [], NOW, Wording())
        with pytest.raises(ValueError, match="not a segment's path"):
            shelf.put(PROD, None, [made], [path], NOW, Wording())
    assert folder.files() == ["prod/models/m.pkl"]


# When the mount fails


def test_a_mount_that_is_away_or_empty_takes_nothing_and_the_rows_wait(
    folder: Mounted, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    made = segments(tmp_path)
    away = folder.path.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(RemoteUnavailable):
            publisher.publish(PROD, made, POLICY)
        folder.path.mkdir(exist_ok=True)
    assert folder.files() == []
    assert store.confirmed(KEY) == {}
    folder.path.rmdir()
    away.rename(folder.path)
    publisher.publish(PROD, made, POLICY)
    assert set(below("prod", made)) <= set(folder.files())


def test_a_read_only_mount_refuses_and_says_so(
    folder: Mounted, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    made = segments(tmp_path)
    with mounted(folder.path, "--bind", str(folder.path)):
        remount(folder.path, "bind,ro")
        with pytest.raises(PushRefused, match="Read-only file system"):
            publisher.publish(PROD, made, POLICY)
        assert "Read-only file system" in (store.publication(PROD).diverted or "")
        assert store.confirmed(KEY) == {}
    publisher.publish(PROD, made, Policy("branch", timedelta(days=14), "second"))
    assert set(below("prod", made)) <= set(folder.files())


def test_a_full_disk_leaves_no_part_and_the_rows_wait(
    folder: Mounted, store: Store, tmp_path: Path
) -> None:
    with mounted(folder.path, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        folder.write("prod", {"models/m.pkl": "x"})
        publisher = publisher_of(FolderShelf(Folder(folder.path)), store)
        small = segments(tmp_path)
        path = "logs/prod/2026-11-23/100000Z-00000000-7.jsonl"
        assert parse_path(path)
        large = Segment(KEY, "logs", PROD, path, b"x" * 200_000, 1)
        with pytest.raises(RemoteUnavailable, match="No space left"):
            publisher.publish(PROD, [*small, large], POLICY)
        assert store.confirmed(KEY) == {}
        assert folder.files("prod/") == sorted(["prod/models/m.pkl", *below("prod", small)])
        remount(folder.path, "size=1m")
        publisher.publish(PROD, [*small, large], POLICY)
        assert f"prod/{path}" in folder.files()
        assert set(store.confirmed(KEY)) == {PROD}
