"""From a tip to a Move: what is downloaded, which commit it is called by, what is remembered."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from gitrepo import Remote
from gitrepo import git as person

from gateway.errors import ContentError, RemoteUnavailable
from gateway.names import Branch, Commit, Fingerprint
from gateway.repositories.arrivals import Arrivals, Bounds
from gateway.repositories.move import Move
from gateway.repositories.remembered import LastGood, Remembered

PROD = Branch("prod")
Made = Callable[..., Arrivals]


def take(
    arrivals: Arrivals, remote: Remote, branch: str = "prod", model: str | None = None
) -> Move:
    """The branch's move as it is in the end, and its lease given back."""
    move, lease = arrivals.take(Branch(branch), Commit(remote.tip(branch)), model)
    lease.release()
    named = arrivals.settle(Branch(branch), move, 60.0) if move.settling else None
    return named or replace(move, settling=False)


def packed(state: Path) -> int:
    return sum(f.stat().st_size for f in (state / "git").rglob("*.pack"))


def test_a_tip_becomes_a_complete_snapshot(
    arrivals_in: Made, remote: Remote, tmp_path: Path
) -> None:
    move = take(arrivals_in(tmp_path / "s", str(remote.path)), remote)
    tip = remote.tip("prod")
    assert (PROD, tip, tip, True) == (move.branch, move.tip, move.commit, move.commit_known)
    assert tmp_path / "s/snapshots" / move.fingerprint == move.root
    assert (move.root / "models/model.pkl").stat().st_size == 5_000_000


def test_ten_monitoring_commits_change_neither_commit_nor_fingerprint(
    arrivals_in: Made, url: str, remote: Remote, tmp_path: Path
) -> None:
    arrivals = arrivals_in(tmp_path / "s", url)
    before = take(arrivals, remote)
    for n in range(10):
        remote.commit("prod", {f"monitoring/{n}.csv": "x"})
    quiet = take(arrivals, remote)
    assert (before.commit, before.fingerprint) == (quiet.commit, quiet.fingerprint)
    assert remote.tip("prod") == quiet.tip
    fresh = take(arrivals_in(tmp_path / "fresh", url), remote)
    assert quiet == Move(
        PROD, fresh.tip, fresh.commit, fresh.commit_known, fresh.fingerprint, quiet.root
    )


def test_a_merge_of_the_challenger_downloads_no_content(
    arrivals_in: Made, url: str, remote: Remote, tmp_path: Path
) -> None:
    remote.commit("ab", {"models/model.pkl": b"c" * 3_000_000}, start="prod")
    arrivals = arrivals_in(tmp_path / "s", url)
    take(arrivals, remote)
    challenger = take(arrivals, remote, "ab")
    changed = (challenger.root / "models/model.pkl").stat().st_ino
    before = packed(tmp_path / "s")
    merge = remote.merge("ab", "prod")
    move = take(arrivals, remote)
    assert (challenger.fingerprint, challenger.root) == (move.fingerprint, move.root)
    assert changed == (move.root / "models/model.pkl").stat().st_ino
    assert merge == move.commit != challenger.commit
    assert packed(tmp_path / "s") - before < 10_000


def test_a_revert_has_the_old_commit_fingerprint_and_snapshot(
    arrivals_in: Made, remote: Remote, tmp_path: Path
) -> None:
    arrivals = arrivals_in(tmp_path / "s", str(remote.path))
    old = take(arrivals, remote)
    remote.commit("prod", {"models/model.pkl": "bad"})
    assert old.fingerprint != take(arrivals, remote).fingerprint
    tip = remote.revert("prod")
    back = take(arrivals, remote)
    assert old == Move(PROD, old.tip, back.commit, back.commit_known, back.fingerprint, back.root)
    assert tip == back.tip


def test_provenance_is_unknown_where_history_would_bring_blobs(
    arrivals_in: Made, daemon: str, remote: Remote, tmp_path: Path
) -> None:
    person(remote.path, "config", "uploadpack.allowFilter", "false")
    first = remote.tip("prod")
    tip = remote.commit("prod", {"README.md": "x"})
    move = take(arrivals_in(tmp_path / "s", daemon), remote)
    assert (tip, False) == (move.commit, move.commit_known)
    assert first != move.commit


def test_remembered_provenance_needs_no_history(
    arrivals_in: Made, daemon: str, remote: Remote, tmp_path: Path
) -> None:
    first = take(arrivals_in(tmp_path / "s", daemon), remote)
    person(remote.path, "config", "uploadpack.allowFilter", "false")
    remote.commit("prod", {"README.md": "x"})
    shutil.rmtree(tmp_path / "s/git")
    move = take(arrivals_in(tmp_path / "s", daemon), remote)
    assert (first.commit, True) == (move.commit, move.commit_known)
    assert first.tip != move.tip


def test_provenance_out_of_time_is_unknown_and_settled_later(
    arrivals_in: Made, remote: Remote, tmp_path: Path
) -> None:
    first = remote.tip("prod")
    tip = remote.commit("prod", {"README.md": "x"})
    arrivals = arrivals_in(tmp_path / "s", str(remote.path))
    move, lease = arrivals.take(PROD, Commit(tip), None)
    lease.release()
    assert (tip, False, True) == (move.commit, move.commit_known, move.settling)
    assert arrivals.settle(PROD, move, -1.0) is None
    settled = arrivals.settle(PROD, move, 30.0)
    assert settled is not None
    assert settled == replace(move, commit=Commit(first), commit_known=True, settling=False)
    assert settled.commit == take(arrivals, remote).commit


def test_a_restart_remembers_and_serves_with_the_remote_away(
    arrivals_in: Made, remote: Remote, tmp_path: Path
) -> None:
    move = take(arrivals_in(tmp_path / "s", str(remote.path)), remote)
    remote.path.rename(tmp_path / "away")
    again = arrivals_in(tmp_path / "s", str(remote.path))
    found = again.last_good(PROD, None)
    assert found is not None
    assert move == found[0]
    assert again.last_good(PROD, "models/other.pkl") is None
    with pytest.raises(RemoteUnavailable):
        again.heads()


def test_a_cache_damaged_while_running_heals(
    arrivals_in: Made, remote: Remote, tmp_path: Path
) -> None:
    arrivals = arrivals_in(tmp_path / "s", str(remote.path))
    take(arrivals, remote)
    (tmp_path / "s/git/read/HEAD").write_text("garbage")
    for pack in (tmp_path / "s/git/read/objects/pack").iterdir():
        pack.unlink()
    tip = remote.commit("prod", {"models/model.pkl": "new"})
    assert tip == take(arrivals, remote).commit
    assert tip == arrivals.heads()[PROD]


def test_a_tree_git_cannot_read_is_the_contents_fault(
    arrivals_in: Made, remote: Remote, tmp_path: Path
) -> None:
    tree = person(
        remote.path, "hash-object", "-t", "tree", "--literally", "-w", "--stdin", stdin=b"rubbish"
    )
    commit = person(
        remote.path,
        "hash-object",
        "-t",
        "commit",
        "-w",
        "--literally",
        "--stdin",
        stdin=f"tree {tree}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n".encode(),
    )
    person(remote.path, "update-ref", "refs/heads/rubbish", commit)
    arrivals = arrivals_in(tmp_path / "s", str(remote.path))
    with pytest.raises((ContentError, RemoteUnavailable)):
        take(arrivals, remote, "rubbish")
    assert remote.tip("prod") == take(arrivals, remote).tip


def test_tidying_keeps_the_present_tips_and_the_last_few_snapshots(
    arrivals_in: Made, remote: Remote, tmp_path: Path
) -> None:
    arrivals = arrivals_in(tmp_path / "s", str(remote.path))
    for n in range(8):
        remote.commit("prod", {"models/model.pkl": f"{n}"})
        take(arrivals, remote)
    arrivals.tidy([Commit(remote.tip("prod"))])
    assert len(list((tmp_path / "s/snapshots").iterdir())) == 5
    kept = person(tmp_path / "s/git/read", "for-each-ref", "--format=%(refname:lstrip=2)")
    assert remote.tip("prod") == kept


def test_memory_survives_and_an_unreadable_one_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "branches.json"
    last = LastGood(Commit("1" * 40), Commit("2" * 40), True, _fingerprint(), "models/m.pkl")
    memory = Remembered(path)
    memory.load()
    memory.put(Branch("a/b"), last)
    again = Remembered(path)
    again.load()
    assert last == again.get(Branch("a/b"))
    assert again.get(PROD) is None
    for damage in (
        b"",
        b"{",
        b"[]",
        b'{"branches": {"a": 1}}',
        b'{"branches": {"..": {}}}',
        b"\xff",
    ):
        path.write_bytes(damage)
        again.load()
        assert again.get(Branch("a/b")) is None
    memory.put(PROD, last)
    assert {"a/b", "prod"} == set(json.loads(path.read_text())["branches"])


def _fingerprint() -> Fingerprint:
    return Fingerprint("3" * 32)


def test_a_cache_that_has_grown_is_begun_anew_and_nobody_notices(
    arrivals_in: Callable[..., Arrivals], remote: Remote, tmp_path: Path
) -> None:
    """Five branches at once, each with a model of its own, over a bound that each one passes."""
    arrivals = arrivals_in(tmp_path / "state", str(remote.path), Bounds(cache_bytes=2_000_000))
    arrivals.take(PROD, Commit(remote.tip("prod")), None)
    assert arrivals.cache_status()["bytes"] < 2_000_000  # as it was when that began
    branches = [Branch(f"exp-{n}") for n in range(5)]
    for branch in branches:
        remote.commit(branch, {"models/model.pkl": os.urandom(1_500_000)}, start="prod")
    before = arrivals.cache_status()["rebuilds"]
    for _ in range(3):
        tips = {branch: Commit(remote.tip(branch)) for branch in branches}
        with ThreadPoolExecutor(5) as pool:
            asked = [pool.submit(arrivals.take, branch, tips[branch], None) for branch in branches]
            taken = [future.result() for future in asked]
        for branch, (move, lease) in zip(branches, taken, strict=True):
            assert move.tip == tips[branch]
            assert (lease.root / "models/model.pkl").stat().st_size == 1_500_000
            lease.release()
        for branch in branches:
            remote.commit(branch, {"README.md": os.urandom(3).hex()})
    assert arrivals.cache_status()["rebuilds"] > before
    arrivals.take(PROD, Commit(remote.tip("prod")), None)
    assert arrivals.cache_status()["bytes"] < 9_500_000
