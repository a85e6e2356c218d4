"""Publishing against a real bare remote that people and hooks move under it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chunkfiles import WRITER, decision, header, log_line, request, write
from gitrepo import Remote, git

from gateway.chunks import Chunk, ChunkKey
from gateway.errors import PushRefused, RemoteUnavailable, StaleTip
from gateway.monitoring.commits import build
from gateway.monitoring.git_shelf import GitShelf
from gateway.monitoring.publisher import Policy, Publisher
from gateway.monitoring.segments import Segment, contents_of
from gateway.names import Branch, Commit
from gateway.repositories.git import Git
from gateway.store import Store
from gateway.store.sqlite import SqliteStore

NOW = datetime(2026, 11, 23, 10, 20, tzinfo=UTC)
PROD = Branch("prod")
SIDE = "gateway-monitoring/prod"
POLICY = Policy("branch", timedelta(days=14), "first")


class Meddled(Git):
    """Git with something happening before a commit is built, before or after it is pushed."""

    def __init__(self, cache: Path, remote: str, environment: Mapping[str, str]) -> None:
        super().__init__(cache, remote, environment)
        self.before_build: Callable[[], object] = lambda: None
        self.before_push: Callable[[], object] = lambda: None
        self.after_push: Callable[[], object] = lambda: None
        self.pushes = 0

    def run(self, arguments: Sequence[str], **options: Any) -> bytes:
        if arguments[0] == "fast-import":
            self.before_build()
        return super().run(arguments, **options)

    def push(self, commit: Commit, ref: str, expected: Commit | None, **options: Any) -> None:
        self.pushes += 1
        self.before_push()
        super().push(commit, ref, expected, **options)
        self.after_push()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with SqliteStore(tmp_path / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def meddled(tmp_path: Path, remote: Remote) -> Meddled:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    made = Meddled(tmp_path / "cache", str(remote.path), environment)
    made.prepare()
    return made


@pytest.fixture
def publisher(meddled: Meddled, store: Store) -> Publisher:
    return publisher_at(meddled, store, NOW)


def publisher_at(meddled: Git, store: Store, now: datetime) -> Publisher:
    rng = random.Random(7)
    shelf = GitShelf(meddled)
    return Publisher(shelf, store, now=lambda: now, pause=lambda _: None, jitter=rng.random)


def segments(tmp_path: Path, chunk: int = 1, branch: str = "prod", **changes: Any) -> list[Segment]:
    lines = [header(chunk, **changes), request(chunk, branch), decision(branch), log_line(branch)]
    path = write(tmp_path / "journal", lines)
    with Chunk(path) as opened:
        return list(contents_of(opened).segments)


def paths(made: list[Segment]) -> set[str]:
    return {segment.path for segment in made}


def once() -> Callable[[], bool]:
    """True the first time it is called."""
    left = [True]
    return lambda: bool(left and left.pop())


def other_files(remote: Remote, branch: str) -> str:
    """The tree without what is ours, as git lists it: modes, ids and paths."""
    listed = git(remote.path, "ls-tree", "-r", f"refs/heads/{branch}").splitlines()
    return "\n".join(
        line for line in listed if not line.split("\t")[1].startswith(("monitoring/", "logs/"))
    )


def test_rows_arrive_in_one_commit_on_the_tip(
    remote: Remote, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    tip = remote.commit("prod", {"README": "hello", "models/m": b"\0\1", "src/train.py": "x"})
    before = other_files(remote, "prod")
    made = [*segments(tmp_path, 1), *segments(tmp_path, 2), *segments(tmp_path, 4)]
    publisher.publish(PROD, made, POLICY)
    assert git(remote.path, "rev-list", "--parents", "-1", "prod").split()[1:] == [tip]
    assert set(remote.files("prod", "monitoring/") + remote.files("prod", "logs/")) == paths(made)
    for segment in made:
        assert remote.read("prod", segment.path).encode() + b"\n" == segment.content
    assert other_files(remote, "prod") == before
    message = git(remote.path, "log", "-1", "--format=%B", "prod")
    assert message.splitlines() == [
        "monitoring: 3 predictions, 3 decisions, 3 log lines [skip ci]",
        "",
        f"Gateway-Chunks: {WRITER}/1-2",
        f"Gateway-Chunks: {WRITER}/4",
    ]
    who = git(remote.path, "log", "-1", "--format=%an <%ae> %cn <%ce> %ct", "prod")
    name = "branch gateway <gateway@localhost>"
    assert who == f"{name} {name} {int(NOW.timestamp())}"
    assert store.confirmed(ChunkKey(WRITER, 2)) == {PROD: ("refs/heads/prod", remote.tip("prod"))}


def test_what_is_in_the_tip_already_is_success_and_makes_no_commit(
    remote: Remote, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    remote.commit("prod", {"README": "hello"})
    made = segments(tmp_path)
    publisher.publish(PROD, made, POLICY)
    tip = remote.tip("prod")
    key = ChunkKey(WRITER, 1)
    store.forget(key)
    publisher.publish(PROD, made, POLICY)
    assert remote.tip("prod") == tip
    assert store.confirmed(key) == {PROD: ("refs/heads/prod", tip)}


@pytest.mark.parametrize("moment", ["before_build", "before_push"])
def test_a_push_by_a_person_meanwhile_is_kept_and_built_upon(
    remote: Remote, meddled: Meddled, publisher: Publisher, tmp_path: Path, moment: str
) -> None:
    remote.commit("prod", {"README": "one"})
    first = once()
    setattr(meddled, moment, lambda: first() and remote.commit("prod", {"README": "two"}, "theirs"))
    made = segments(tmp_path)
    publisher.publish(PROD, made, POLICY)
    assert remote.read("prod", "README") == "two"
    assert paths(made) <= set(remote.files("prod"))
    assert git(remote.path, "log", "--format=%s", "-2", "prod").splitlines()[1] == "theirs"


@pytest.mark.parametrize("moment", ["before_build", "before_push"])
def test_a_rollback_by_force_push_meanwhile_is_not_undone(
    remote: Remote, meddled: Meddled, publisher: Publisher, tmp_path: Path, moment: str
) -> None:
    good = remote.commit("prod", {"README": "good"})
    remote.commit("prod", {"README": "bad"})
    first = once()
    rollback = ("push", "--quiet", "--force", "origin", f"{good}:refs/heads/prod")
    setattr(meddled, moment, lambda: first() and git(remote.person, *rollback))
    publisher.publish(PROD, segments(tmp_path), POLICY)
    assert remote.read("prod", "README") == "good"
    assert git(remote.path, "rev-parse", "prod^") == good


@pytest.mark.parametrize("moment", ["before_build", "before_push"])
def test_a_branch_deleted_meanwhile_stays_deleted_and_its_rows_go_aside(
    remote: Remote,
    meddled: Meddled,
    publisher: Publisher,
    store: Store,
    tmp_path: Path,
    moment: str,
) -> None:
    remote.commit("prod", {"README": "one"})
    first = once()
    deletion = ("update-ref", "-d", "refs/heads/prod")
    setattr(meddled, moment, lambda: first() and git(remote.path, *deletion))
    made = segments(tmp_path)
    publisher.publish(PROD, made, POLICY)
    assert git(remote.path, "branch", "--format=%(refname:short)") == SIDE
    assert set(remote.files(SIDE)) == paths(made)
    assert POLICY.in_force(store.publication(PROD)) == "side-branch"
    remote.commit("prod", {"README": "again"}, start=SIDE)
    publisher.publish(PROD, segments(tmp_path, 2), POLICY)
    assert remote.files("prod", f"monitoring/predictions/prod/2026-11-23/100000Z-{WRITER}-2")
    assert POLICY.in_force(store.publication(PROD)) == "branch"


def test_a_ref_that_never_stands_still_is_left_for_later(
    remote: Remote, meddled: Meddled, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    remote.commit("prod", {"README": "one"})
    meddled.before_push = lambda: remote.commit("prod", {"README": "again"})
    with pytest.raises(StaleTip):
        publisher.publish(PROD, segments(tmp_path), POLICY)
    assert meddled.pushes < 20
    assert store.confirmed(ChunkKey(WRITER, 1)) == {}


def lose_the_answer() -> None:
    raise RemoteUnavailable("the connection was lost")


def test_a_lost_acknowledgement_doubles_nothing(
    remote: Remote, meddled: Meddled, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    remote.commit("prod", {"README": "one"})
    made = segments(tmp_path)
    meddled.after_push = lose_the_answer
    with pytest.raises(RemoteUnavailable):
        publisher.publish(PROD, made, POLICY)
    assert store.confirmed(ChunkKey(WRITER, 1)) == {}
    tip = remote.tip("prod")
    meddled.after_push = lambda: None
    publisher.publish(PROD, made, POLICY)
    assert remote.tip("prod") == tip
    assert store.confirmed(ChunkKey(WRITER, 1)) == {PROD: ("refs/heads/prod", tip)}


@pytest.mark.parametrize(
    ("before", "after"), [("side-branch", "branch"), ("branch", "side-branch")]
)
def test_a_lost_acknowledgement_doubles_nothing_when_the_target_changed_since(
    remote: Remote,
    meddled: Meddled,
    publisher: Publisher,
    tmp_path: Path,
    before: Any,
    after: Any,
) -> None:
    remote.commit("prod", {"README": "one"})
    made = segments(tmp_path)
    meddled.after_push = lose_the_answer
    with pytest.raises(RemoteUnavailable):
        publisher.publish(PROD, made, Policy(before, timedelta(days=14), "first"))
    meddled.after_push = lambda: None
    publisher.publish(PROD, made, Policy(after, timedelta(days=14), "second"))
    everywhere = [
        path
        for branch in git(remote.path, "branch", "--format=%(refname:short)").split()
        for path in remote.files(branch)
        if path != "README"
    ]
    assert sorted(everywhere) == sorted(paths(made))


def decline(remote: Remote, branch: str) -> None:
    hook = remote.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f'#!/bin/sh\nwhile read old new ref; do [ "$ref" != {branch} ] || exit 1; done\n'
    )
    hook.chmod(0o755)


def test_a_refused_branch_is_left_alone_until_settings_or_front_are_new(
    remote: Remote, meddled: Meddled, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    for branch in ("prod", "dev", "test"):
        remote.commit(branch, {"README": branch})
    decline(remote, "refs/heads/prod")
    tip = remote.tip("prod")
    for branch in ("dev", "prod", "test"):
        made = segments(tmp_path, 1, branch)
        publisher.publish(Branch(branch), made, POLICY)
        arrived_at = SIDE if branch == "prod" else branch
        assert paths(made) <= set(remote.files(arrived_at))
    assert remote.tip("prod") == tip
    assert POLICY.in_force(store.publication(PROD)) == "side-branch"
    assert "hook declined" in (store.publication(PROD).diverted or "")
    before = meddled.pushes
    publisher.publish(PROD, segments(tmp_path, 2), POLICY)
    assert meddled.pushes == before + 1
    (remote.path / "hooks" / "pre-receive").unlink()
    third = segments(tmp_path, 3)
    publisher.publish(PROD, third, Policy("branch", timedelta(days=14), "second"))
    assert {path for path in remote.files("prod") if path != "README"} == paths(third)
    assert store.publication(PROD).diverted is None


def test_the_side_branch_is_an_orphan_with_nothing_but_segments(
    remote: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    tip = remote.commit("prod", {"README": "one"})
    policy = Policy("side-branch", timedelta(days=14), "first")
    first, second = segments(tmp_path, 1), segments(tmp_path, 2)
    publisher.publish(PROD, first, policy)
    publisher.publish(PROD, second, policy)
    assert remote.tip("prod") == tip
    assert set(remote.files(SIDE)) == paths(first) | paths(second)
    assert git(remote.path, "rev-list", "--count", SIDE) == "2"
    assert git(remote.path, "rev-list", "--max-parents=0", "--count", SIDE) == "1"


def test_nowhere_to_go_is_an_error_and_nothing_is_confirmed(
    remote: Remote, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    remote.commit("prod", {"README": "one"})
    hook = remote.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(PushRefused):
        publisher.publish(PROD, segments(tmp_path), POLICY)
    assert store.confirmed(ChunkKey(WRITER, 1)) == {}


def test_a_file_where_a_folder_is_needed_is_not_replaced(
    remote: Remote, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    tip = remote.commit("prod", {"monitoring": "a person's notes"})
    publisher.publish(PROD, segments(tmp_path), POLICY)
    assert remote.tip("prod") == tip
    assert remote.files(SIDE, "monitoring/")
    assert "monitoring is a file there" in (store.publication(PROD).diverted or "")


def test_retention_deletes_old_segments_of_every_branch_and_nothing_else(
    remote: Remote, meddled: Meddled, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    old = "predictions/{}/2026-11-0{}/100000Z-00000000-1.csv"
    gone = [
        "monitoring/" + old.format("prod", 8),
        "monitoring/" + old.format("feature~x", 1),
        "monitoring/decisions/prod/2026-11-08/100000Z-00000000-1.csv",
        "logs/prod/2026-11-08/100000Z-00000000-1.jsonl",
    ]
    kept = [
        "monitoring/" + old.format("prod", 9),
        "monitoring/predictions/prod/2026-11-08/notes.csv",
        "monitoring/predictions.csv",
        "monitoring/mine/prod/2026-11-08/100000Z-00000000-1.csv",
        "logs/prod/2026-11-08/100000Z-00000000-1.csv",
        "data/predictions/prod/2026-11-08/100000Z-00000000-1.csv",
    ]
    remote.commit("prod", dict.fromkeys([*gone, *kept], "x"))
    made = segments(tmp_path)
    publisher.publish(PROD, made, POLICY)
    assert sorted(remote.files("prod")) == sorted([*kept, *paths(made)])
    assert git(remote.path, "rev-list", "--count", "prod") == "2"
    later = publisher_at(meddled, store, NOW + timedelta(days=100))
    tip = remote.tip("prod")
    later.publish(PROD, made, POLICY)
    assert remote.tip("prod") == tip, "there was nothing new, so nothing may be deleted either"


def test_a_path_that_is_not_a_segments_is_refused(meddled: Meddled, tmp_path: Path) -> None:
    made = segments(tmp_path)[0]
    for path in ("README.md", "monitoring/x.csv", "../" + made.path, made.path + "\nD README"):
        wrong = Segment(made.key, made.kind, PROD, path, b"x", 1)
        with pytest.raises(ValueError, match="not a segment's path"):
            build(meddled, None, [wrong], [], NOW)
        with pytest.raises(ValueError, match="not a segment's path"):
            build(meddled, None, [made], [path], NOW)


def test_merges_and_repeated_squashes_have_no_conflict_in_monitoring(
    remote: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    remote.commit("prod", {"models/m": "1"})
    remote.commit("ab-test", {"models/m": "2"}, start="prod")
    challenger = Branch("ab-test")
    everything: set[str] = set()

    def both(chunk: int) -> None:
        for branch in (PROD, challenger):
            made = segments(tmp_path, chunk, branch)
            publisher.publish(branch, made, POLICY)
            everything.update(paths(made))

    both(1)
    remote.merge("ab-test", "prod")
    both(2)
    for chunk in (3, 4):
        remote.checkout("prod")
        git(remote.person, "merge", "--quiet", "--squash", "origin/ab-test")
        git(remote.person, "commit", "--quiet", "-m", "squash")
        git(remote.person, "push", "--quiet", "origin", "HEAD:refs/heads/prod")
        both(chunk)
    remote.merge("prod", "ab-test")
    merged = set(remote.files("ab-test")) - {"models/m"}
    assert merged == everything


def test_the_write_cache_is_rebuilt_when_it_has_grown(
    remote: Remote, meddled: Meddled, store: Store, tmp_path: Path
) -> None:
    remote.commit("prod", {"README": "one"})
    shelf = GitShelf(meddled)
    publisher = Publisher(
        shelf, store, now=lambda: NOW, pause=lambda _: None, jitter=random.Random(7).random
    )
    publisher.publish(PROD, segments(tmp_path), POLICY)
    (meddled.cache / "marker").touch()
    for _ in range(64):
        shelf.slim(10**9)
    assert (meddled.cache / "marker").exists()
    for _ in range(64):
        shelf.slim(1)
    assert not (meddled.cache / "marker").exists()
    second = segments(tmp_path, 2)
    publisher.publish(PROD, second, POLICY)
    assert paths(second) <= set(remote.files("prod"))
