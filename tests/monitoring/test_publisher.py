"""Publishing against a real bare remote that people and hooks move under it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from chunkfiles import WRITER, decision, header, log_line, request, request_id, write
from gitrepo import Remote, git

from gateway.chunks import Chunk, ChunkKey
from gateway.errors import PushRefused, RemoteUnavailable, StaleTip
from gateway.layout import Segment
from gateway.monitoring.commits import Wording, build
from gateway.monitoring.git_shelf import GitShelf
from gateway.monitoring.publisher import Policy, Publisher, side_branch
from gateway.monitoring.segments import contents_of
from gateway.names import Branch, Commit
from gateway.repositories.git import Git
from gateway.store import Store
from gateway.store.sqlite import SqliteStore

NOW = datetime(2026, 11, 23, 10, 20, tzinfo=UTC)
PROD = Branch("prod")
SIDE = "gateway-monitoring/prod"
POLICY = Policy("branch", timedelta(days=14), "first")


#: Every point between the first word to the remote and the last, at which somebody may push.
MOMENTS = ["before_listing", "before_fetch", "before_build", "before_push", "during_push"]
at_each_moment = pytest.mark.parametrize("moment", MOMENTS)


class Meddled(Git):
    """Git with something happening before or after each of its steps."""

    def __init__(self, cache: Path, remote: str, environment: Mapping[str, str]) -> None:
        super().__init__(cache, remote, environment)
        self.before_listing: Callable[[], object] = lambda: None
        self.before_fetch: Callable[[], object] = lambda: None
        self.before_build: Callable[[], object] = lambda: None
        self.before_push: Callable[[], object] = lambda: None
        self.after_push: Callable[[], object] = lambda: None
        self.pushes = 0

    def fetch_tip(self, branch: Branch, **options: Any) -> Commit:
        self.before_listing()
        return super().fetch_tip(branch, **options)

    def fetch(self, commit: Commit, **options: Any) -> None:
        self.before_fetch()
        super().fetch(commit, **options)

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


def meddle(meddled: Meddled, remote: Remote, moment: str, *arguments: str) -> None:
    """Somebody runs that git command on the remote, once, at that moment of the next push.

    During the push means on the server: after it has told its refs, before it moves one.
    """
    if moment == "during_push":
        quarantine = "GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES"
        command = f"unset {quarantine}; rm $0; exec git {' '.join(arguments)}"
        remote.hook("pre-receive", command)
        return
    first = once()
    setattr(meddled, moment, lambda: first() and git(remote.path, *arguments))


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


def test_author_committer_and_first_line_are_the_configured_ones(
    remote: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    remote.commit("team/prod", {"README": "hello"})
    wording = Wording(
        author="Déjà vu <a@example.org>",
        committer="the gateway (prod) <c@example.org>",
        message="chore({branch}): {contents} für {branch} {{}}",
    )
    branch = Branch("team/prod")
    policy = Policy("branch", timedelta(days=14), "first", wording)
    publisher.publish(branch, segments(tmp_path, 1, branch), policy)
    who = git(remote.path, "log", "-1", "--format=%an <%ae> | %cn <%ce>", branch)
    assert who == "Déjà vu <a@example.org> | the gateway (prod) <c@example.org>"
    contents = "1 prediction, 1 decision, 1 log line"
    assert git(remote.path, "log", "-1", "--format=%B", branch).splitlines() == [
        f"chore(team/prod): {contents} für team/prod {{}}",
        "",
        f"Gateway-Chunks: {WRITER}/1",
    ]


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


@at_each_moment
def test_a_push_by_a_person_meanwhile_is_kept_and_built_upon(
    remote: Remote, meddled: Meddled, publisher: Publisher, tmp_path: Path, moment: str
) -> None:
    remote.commit("prod", {"README": "one"})
    theirs = remote.commit("other", {"README": "two"}, "theirs", start="prod")
    meddle(meddled, remote, moment, "update-ref", "refs/heads/prod", theirs)
    made = segments(tmp_path)
    publisher.publish(PROD, made, POLICY)
    assert remote.read("prod", "README") == "two"
    assert paths(made) <= set(remote.files("prod"))
    assert git(remote.path, "log", "--format=%s", "-2", "prod").splitlines()[1] == "theirs"


@at_each_moment
def test_a_rollback_by_force_push_meanwhile_is_not_undone(
    remote: Remote, meddled: Meddled, publisher: Publisher, tmp_path: Path, moment: str
) -> None:
    good = remote.commit("prod", {"README": "good"})
    remote.commit("prod", {"README": "bad"})
    meddle(meddled, remote, moment, "update-ref", "refs/heads/prod", good)
    made = segments(tmp_path)
    publisher.publish(PROD, made, POLICY)
    assert remote.read("prod", "README") == "good"
    assert git(remote.path, "rev-parse", "prod^") == good
    assert paths(made) <= set(remote.files("prod"))


def test_a_tip_that_vanished_after_it_was_listed_is_no_deleted_branch(
    remote: Remote, meddled: Meddled, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    """Rolled back and pruned between two words to the remote; git says it of both alike."""
    good = remote.commit("prod", {"README": "good"})
    remote.commit("prod", {"README": "bad"})
    first = once()

    def roll_back() -> None:
        if first():
            git(remote.path, "update-ref", "refs/heads/prod", good)
            git(remote.path, "prune", "--expire=now")

    meddled.before_fetch = roll_back
    made = segments(tmp_path)
    publisher.publish(PROD, made, POLICY)
    assert git(remote.path, "rev-parse", "prod^") == good
    assert paths(made) <= set(remote.files("prod"))
    assert store.publication(PROD).diverted is None


@at_each_moment
def test_a_branch_deleted_meanwhile_stays_deleted_and_its_rows_go_aside(
    remote: Remote,
    meddled: Meddled,
    publisher: Publisher,
    store: Store,
    tmp_path: Path,
    moment: str,
) -> None:
    remote.commit("prod", {"README": "one"})
    meddle(meddled, remote, moment, "update-ref", "-d", "refs/heads/prod")
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


def test_a_rollback_after_a_lost_acknowledgement_is_not_undone(
    remote: Remote, meddled: Meddled, publisher: Publisher, tmp_path: Path
) -> None:
    """What was pushed is gone from the tip, so it is pushed again: on what the person chose."""
    good = remote.commit("prod", {"README": "good"})
    remote.commit("prod", {"README": "bad"})
    made = segments(tmp_path)
    meddled.after_push = lose_the_answer
    with pytest.raises(RemoteUnavailable):
        publisher.publish(PROD, made, POLICY)
    git(remote.path, "update-ref", "refs/heads/prod", good)
    meddled.after_push = lambda: None
    publisher.publish(PROD, made, POLICY)
    assert git(remote.path, "rev-parse", "prod^") == good
    assert set(remote.files("prod")) == {"README"} | paths(made)


def test_a_branch_deleted_after_a_lost_acknowledgement_stays_deleted(
    remote: Remote, meddled: Meddled, publisher: Publisher, tmp_path: Path
) -> None:
    remote.commit("prod", {"README": "one"})
    made = segments(tmp_path)
    meddled.after_push = lose_the_answer
    with pytest.raises(RemoteUnavailable):
        publisher.publish(PROD, made, POLICY)
    git(remote.path, "update-ref", "-d", "refs/heads/prod")
    meddled.after_push = lambda: None
    publisher.publish(PROD, made, POLICY)
    assert git(remote.path, "branch", "--format=%(refname:short)") == SIDE
    assert set(remote.files(SIDE)) == paths(made)


class Killed(BaseException):
    """The process ended here, as by kill -9."""


def die(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead process writes nothing more, whatever its code would have done on the way out."""
    for write_ in ("confirm", "set_publication"):
        monkeypatch.setattr(store, write_, lambda *_: None)
    raise Killed


def everywhere(remote: Remote) -> list[str]:
    """Every path of ours on any branch, as often as it is there."""
    branches = git(remote.path, "branch", "--format=%(refname:short)").split()
    return [path for branch in branches for path in remote.files(branch) if path != "README"]


@pytest.mark.parametrize(
    ("before", "after"), [("side-branch", "branch"), ("branch", "side-branch")]
)
def test_a_kill_during_a_push_forgets_nothing_that_was_found_at_another_ref(
    remote: Remote,
    meddled: Meddled,
    publisher: Publisher,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: Any,
    after: Any,
) -> None:
    """Found where a lost push went, then killed while newer rows go where they go now."""
    remote.commit("prod", {"README": "one"})
    first, second = segments(tmp_path, 1), segments(tmp_path, 2)
    meddled.after_push = lose_the_answer
    with pytest.raises(RemoteUnavailable):
        publisher.publish(PROD, first, Policy(before, timedelta(days=14), "first"))
    meddled.after_push = lambda: None
    meddled.before_push = lambda: die(store, monkeypatch)
    policy = Policy(after, timedelta(days=14), "second")
    with pytest.raises(Killed):
        publisher.publish(PROD, [*first, *second], policy)
    monkeypatch.undo()
    meddled.before_push = lambda: None
    # A monitor takes up what is not confirmed.
    left = [made for made in (*first, *second) if PROD not in store.confirmed(made.key)]
    publisher_at(meddled, store, NOW).publish(PROD, left, policy)
    assert sorted(everywhere(remote)) == sorted(paths(first) | paths(second))


def test_a_kill_after_a_lost_push_arrived_late_forgets_nothing(
    remote: Remote,
    meddled: Meddled,
    publisher: Publisher,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The push of a dead process overtakes its successor, which dies before it looks again."""
    remote.commit("prod", {"README": "one"})
    made = segments(tmp_path)
    aside = Policy("side-branch", timedelta(days=14), "first")
    late: list[Commit] = []
    push = Git.push

    def held(git_: Git, commit: Commit, ref: str, expected: Commit | None, **_: Any) -> None:
        late.append(commit)
        raise RemoteUnavailable("the connection was lost")

    with monkeypatch.context() as patch:
        patch.setattr(Git, "push", held)
        with pytest.raises(RemoteUnavailable):
            publisher.publish(PROD, made, aside)

    def overtaken() -> None:
        push(meddled, late[0], f"refs/heads/{SIDE}", None)
        meddled.before_listing = lambda: die(store, monkeypatch)

    meddled.before_push = overtaken
    with pytest.raises(Killed):
        # A second later, so that its commit is not the very one that overtakes it.
        publisher_at(meddled, store, NOW + timedelta(seconds=1)).publish(PROD, made, aside)
    monkeypatch.undo()
    meddled.before_push = meddled.before_listing = lambda: None
    publisher.publish(PROD, made, Policy("branch", timedelta(days=14), "second"))
    assert sorted(everywhere(remote)) == sorted(paths(made))


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
    assert sorted(everywhere(remote)) == sorted(paths(made))


def decline(remote: Remote, branch: str) -> None:
    remote.hook("pre-receive", f'while read old new ref; do [ "$ref" != {branch} ] || exit 1; done')


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


def test_a_branch_below_a_replaced_one_has_a_side_branch_too(
    remote: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    """`exp` made way for `exp/sub`, and both needed side branches: git must have room for both."""
    exp, sub = Branch("exp"), Branch("exp/sub")
    tip = remote.commit("exp", {"README": "one"})
    decline(remote, "refs/heads/exp")
    first = segments(tmp_path, 1, exp)
    publisher.publish(exp, first, POLICY)
    git(remote.path, "update-ref", "-d", "refs/heads/exp")
    git(remote.path, "update-ref", "refs/heads/exp/sub", tip)
    decline(remote, "refs/heads/exp/sub")
    second = segments(tmp_path, 2, sub)
    publisher.publish(sub, second, POLICY)
    third = segments(tmp_path, 3, exp)
    publisher.publish(exp, third, POLICY)
    assert set(remote.files("gateway-monitoring/exp")) == paths(first) | paths(third)
    assert set(remote.files("gateway-monitoring/exp+sub")) == paths(second)


def test_branches_whose_side_branches_have_one_name_share_it_without_harm(
    remote: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    policy = Policy("side-branch", timedelta(days=14), "first")
    everything = set()
    for chunk in (1, 2):
        for branch in (Branch("team/exp"), Branch("team+exp")):
            made = segments(tmp_path, chunk, branch)
            publisher.publish(branch, made, policy)
            everything |= paths(made)
    assert len(everything) == 12
    assert set(remote.files("gateway-monitoring/team+exp")) == everything


@pytest.mark.parametrize("name", ["a" * 200, "é" * 100, "a/" * 99 + "aa", "a" * 170 + "/b" * 15])
def test_the_longest_branch_names_have_side_branches_of_their_own(name: str) -> None:
    side = side_branch(Branch(name))
    assert side == Branch(side)
    assert side.count("/") == 1
    assert side != side_branch(Branch(name[:-1] + "c"))


def test_nowhere_to_go_is_an_error_and_nothing_is_confirmed(
    remote: Remote, publisher: Publisher, store: Store, tmp_path: Path
) -> None:
    remote.commit("prod", {"README": "one"})
    remote.hook("pre-receive", "exit 1")
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


def test_a_thousand_pushed_segments_are_one_duckdb_line_and_older_ones_have_left(
    remote: Remote, meddled: Meddled, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.commit("prod", {"README": "one"})

    def publish(chunks: range, opened: datetime) -> None:
        made: list[Segment] = []
        for chunk in chunks:
            made += segments(tmp_path, chunk, opened=opened.isoformat())[:1]
        publisher_at(meddled, store, opened).publish(PROD, made, POLICY)

    publish(range(1, 201), NOW - timedelta(days=30))
    assert len(remote.files("prod", "monitoring/")) == 200
    publish(range(201, 1201), NOW)
    assert git(remote.path, "rev-list", "--count", "prod") == "3"
    remote.checkout("prod")
    monkeypatch.chdir(remote.person)
    begun = time.perf_counter()
    found = duckdb.sql("from 'monitoring/predictions/**/*.csv'")
    assert found is not None
    ids = [row[0] for row in found.select("request_id").fetchall()]
    print(f"1,000 segments in one line of DuckDB: {time.perf_counter() - begun:.2f} s")  # noqa: T201
    assert sorted(ids) == [request_id(chunk) for chunk in range(201, 1201)]


def test_a_path_that_is_not_a_segments_is_refused(meddled: Meddled, tmp_path: Path) -> None:
    made = segments(tmp_path)[0]
    for path in ("README.md", "monitoring/x.csv", "../" + made.path, made.path + "\nD README"):
        wrong = Segment(made.key, made.kind, PROD, path, b"x", 1)
        with pytest.raises(ValueError, match="not a segment's path"):
            build(meddled, None, [wrong], [], NOW)
        with pytest.raises(ValueError, match="not a segment's path"):
            build(meddled, None, [made], [path], NOW)


def test_no_way_of_joining_branches_has_a_conflict_in_monitoring_or_doubles_a_segment(
    remote: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    """Merge, repeated squash, back-merge, rebase, and merges made on the server."""
    remote.commit("prod", {"models/m": "1"})
    remote.commit("ab-test", {"models/m": "2"}, start="prod")
    challenger = Branch("ab-test")
    everything: dict[str, bytes] = {}

    def both(chunk: int) -> None:
        for branch in (PROD, challenger):
            made = segments(tmp_path, chunk, branch)
            publisher.publish(branch, made, POLICY)
            everything.update((segment.path, segment.content) for segment in made)

    def whole(branch: str) -> None:
        """Every segment, once, as it was made, and nothing besides."""
        assert sorted(remote.files(branch)) == sorted([*everything, "models/m"])
        for path, content in everything.items():
            assert remote.read(branch, path).encode() + b"\n" == content

    both(1)
    remote.merge("ab-test", "prod")
    both(2)
    for chunk in (3, 4):
        remote.squash("ab-test", "prod")
        both(chunk)
    remote.merge("prod", "ab-test")
    whole("ab-test")
    both(5)
    remote.commit("ab-test", {"models/m": "3"})
    remote.rebase("ab-test", "prod")
    assert git(remote.path, "rev-list", "--merges", "prod..ab-test") == ""
    assert git(remote.path, "rev-list", "--count", "ab-test..prod") == "0"
    whole("ab-test")
    both(6)
    remote.merge_on_the_server("ab-test", "prod")
    both(7)
    remote.merge_on_the_server("ab-test", "prod")
    remote.merge_on_the_server("prod", "ab-test")
    for branch in ("prod", "ab-test"):
        assert remote.read(branch, "models/m") == "3"
        whole(branch)


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
