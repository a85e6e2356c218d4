"""Snapshots appear whole, are read-only, are held by leases, and go when nobody needs them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gateway.errors import StateError
from gateway.names import Fingerprint
from gateway.repositories.snapshots import Snapshots


def number(n: int) -> Fingerprint:
    return Fingerprint(f"{n:032x}")


def write(target: Path) -> None:
    (target / "models/deep").mkdir(parents=True)
    (target / "models/deep/model.pkl").write_text("model")
    (target / "link").symlink_to("models")


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    made = Snapshots(tmp_path / "snapshots", keep=2)
    made.open()
    return made


def test_a_snapshot_is_invisible_until_complete_and_then_read_only(snapshots: Snapshots) -> None:
    def watch(target: Path) -> None:
        write(target)
        assert not snapshots.has(number(1))

    lease = snapshots.build(number(1), watch)
    assert snapshots.folder / number(1) == lease.root
    assert (lease.root / "link/deep/model.pkl").read_text() == "model"
    folders = [lease.root, *(p for p in lease.root.rglob("*") if p.is_dir() and not p.is_symlink())]
    assert {0o555} == {folder.stat().st_mode & 0o777 for folder in folders}


def test_one_that_is_there_is_not_built_again(snapshots: Snapshots) -> None:
    snapshots.build(number(1), write).release()
    snapshots.build(number(1), lambda target: pytest.fail("built again")).release()


def test_a_failed_build_leaves_nothing(snapshots: Snapshots) -> None:
    def fail(target: Path) -> None:
        write(target)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        snapshots.build(number(1), fail)
    assert list(snapshots.folder.iterdir()) == []


def test_what_a_crash_left_is_removed_at_start(snapshots: Snapshots) -> None:
    snapshots.build(number(1), write).release()
    for name in (".building-x", ".going-y"):
        left = snapshots.folder / name / "models"
        left.mkdir(parents=True)
        (left / "half").write_text("x")
        left.chmod(0o555)
    Snapshots(snapshots.folder).open()
    assert [snapshots.folder / number(1)] == list(snapshots.folder.iterdir())


def test_only_the_last_used_of_those_nobody_holds_are_kept(snapshots: Snapshots) -> None:
    leases = [snapshots.build(number(n), write) for n in range(5)]
    assert snapshots.prune() == []
    for moment, n in enumerate([4, 3, 2, 1]):
        leases[n].release()
        os.utime(snapshots.folder / number(n), ns=(moment, moment))
    assert {number(3), number(4)} == set(snapshots.prune())
    assert sorted([number(0), number(1), number(2)]) == sorted(
        entry.name for entry in snapshots.folder.iterdir()
    )


def test_giving_back_makes_a_snapshot_the_last_used(snapshots: Snapshots) -> None:
    for n in range(3):
        snapshots.build(number(n), write).release()
        os.utime(snapshots.folder / number(n), ns=(n, n))
    snapshots.lease(number(0)).release()
    assert [number(1)] == snapshots.prune()


def test_two_leases_both_count_and_releasing_twice_counts_once(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "s", keep=0)
    snapshots.open()
    first, second = snapshots.build(number(1), write), snapshots.lease(number(1))
    first.release()
    first.release()
    assert snapshots.prune() == []
    with second:
        assert snapshots.prune() == []
    assert [number(1)] == snapshots.prune()


def test_a_lease_of_nothing_is_an_error(snapshots: Snapshots) -> None:
    with pytest.raises(StateError, match="no snapshot"):
        snapshots.lease(number(9))


def test_two_builders_of_the_same_content_share_one_snapshot(snapshots: Snapshots) -> None:
    both = threading.Barrier(2, timeout=60)
    roots: list[Path] = []

    def build() -> None:
        def together(target: Path) -> None:
            write(target)
            both.wait()

        roots.append(snapshots.build(number(1), together).root)

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [snapshots.folder / number(1)] * 2 == roots
    assert [number(1)] == [entry.name for entry in snapshots.folder.iterdir()]
