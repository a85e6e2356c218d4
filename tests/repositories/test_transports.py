"""The contract every transport keeps: what is read, what is not, and how a push ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from gitrepo import Remote
from gitrepo import git as person

from gateway.errors import MissingRef, StaleTip
from gateway.names import Branch, Commit
from gateway.repositories.git import Git

PROD = Branch("prod")


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def monitoring_commit(git: Git, parent: Commit, name: str) -> Commit:
    """A commit on `parent` that adds one file below monitoring/, as the monitor makes them."""
    stream = (
        "commit refs/made/it\ncommitter G <g@example.org> 1700000000 +0000\ndata 1\nm\n"
        f"from {parent}\nM 100644 inline monitoring/{name}.csv\ndata 2\nq\n\n"
    )
    git.run(["fast-import", "--quiet", "--force"], stdin=stream.encode())
    return Commit(git.run(["rev-parse", "refs/made/it"]).decode().strip())


def test_heads_are_the_branches_and_their_tips(
    url: str, remote: Remote, cache_of: Callable[[str], Git]
) -> None:
    remote.commit("team/exp", {"README.md": "x"}, start="prod")
    assert {PROD: remote.tip("prod"), Branch("team/exp"): remote.tip("team/exp")} == cache_of(
        url
    ).heads()


def test_a_fetched_tip_brings_trees_and_no_blob(
    url: str, remote: Remote, cache_of: Callable[[str], Git]
) -> None:
    git = cache_of(url)
    tip = git.fetch_tip(PROD)
    entries = git.ls_tree(tip, recursive=True)
    assert remote.tip("prod") == tip
    assert remote.files("prod") == [entry.path for entry in entries]
    assert len(entries) == len(git.missing(entry.oid for entry in entries))
    assert size(git.cache) < 100_000
    assert git.filters


def test_blobs_come_in_one_batch_and_only_those_asked_for(
    url: str,
    remote: Remote,
    cache_of: Callable[[str], Git],
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    trace = tmp_path / "trace"
    environment["GIT_TRACE2_EVENT"] = str(trace)
    git = cache_of(url)
    entries = git.ls_tree(git.fetch_tip(PROD), recursive=True)
    wanted = [entry.oid for entry in entries if entry.path.startswith(("models/", "src/"))]
    trace.write_text("")

    assert len(wanted) == git.prefetch(wanted)

    events = [json.loads(line) for line in trace.read_text().splitlines()]
    # One event a process, also of those that a transport starts.
    fetches = [e for e in events if e["event"] == "start" and "fetch" in e["argv"]]
    assert len(fetches) == 1
    rounds = [e for e in events if e.get("label") == "get_pack" and e["event"] == "region_enter"]
    assert len(rounds) <= 1
    left = git.missing(entry.oid for entry in entries)
    assert {e.oid for e in entries if not e.path.startswith(("models/", "src/"))} == set(left)
    assert git.prefetch(wanted) == 0


def test_a_push_adds_to_the_tip_without_fetching_its_blobs(
    url: str, remote: Remote, cache_of: Callable[[str], Git]
) -> None:
    person(remote.path, "config", "receive.denyCurrentBranch", "ignore")
    git = cache_of(url)
    tip = git.fetch_tip(PROD)
    made = monitoring_commit(git, tip, "one")
    git.push(made, PROD.ref, tip)
    assert made == remote.tip("prod")
    assert "monitoring/one.csv" in remote.files("prod")
    assert "models/model.pkl" in remote.files("prod")
    assert size(git.cache) < 100_000
    person(remote.path, "fsck", "--connectivity-only")


def test_a_push_on_a_ref_that_moved_is_stale_and_changes_nothing(
    url: str, remote: Remote, cache_of: Callable[[str], Git]
) -> None:
    git = cache_of(url)
    tip = git.fetch_tip(PROD)
    made = monitoring_commit(git, tip, "one")
    moved = remote.commit("prod", {"README.md": "moved"})
    with pytest.raises(StaleTip):
        git.push(made, PROD.ref, tip)
    assert moved == remote.tip("prod")


def test_a_push_does_not_resurrect_a_deleted_branch(
    url: str, remote: Remote, cache_of: Callable[[str], Git]
) -> None:
    remote.commit("exp", {"README.md": "x"}, start="prod")
    git = cache_of(url)
    tip = git.fetch_tip(Branch("exp"))
    made = monitoring_commit(git, tip, "one")
    person(remote.path, "update-ref", "-d", "refs/heads/exp")
    with pytest.raises(StaleTip):
        git.push(made, "refs/heads/exp", tip)
    assert Branch("exp") not in git.heads()


def test_a_new_branch_is_pushed_only_where_there_is_none(
    url: str, remote: Remote, cache_of: Callable[[str], Git]
) -> None:
    git = cache_of(url)
    tip = git.fetch_tip(PROD)
    made = monitoring_commit(git, tip, "one")
    git.push(tip, "refs/heads/side", None)
    with pytest.raises(StaleTip):
        git.push(made, "refs/heads/side", None)
    assert tip == remote.tip("side")


def test_a_deleted_branch_is_a_missing_ref(
    url: str, remote: Remote, cache_of: Callable[[str], Git]
) -> None:
    with pytest.raises(MissingRef, match="no branch nowhere"):
        cache_of(url).fetch_tip(Branch("nowhere"))


def test_history_is_deepened_without_blobs(
    url: str, remote: Remote, cache_of: Callable[[str], Git]
) -> None:
    commits = [remote.commit("prod", {"models/model.pkl": bytes([n]) * 10**5}) for n in range(4)]
    git = cache_of(url)
    tip = git.fetch_tip(PROD)
    assert [tip] == git.history(tip, 10)
    git.deepen(tip, 3)
    assert commits[:0:-1] == git.history(tip, 10)
    assert size(git.cache) < 100_000
