"""The keeper: moves are delivered, troubles are said, one branch's failure stops no other."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Remote
from gitrepo import git as person
from lfsserver import pointer, stand_in, tools
from waiting import wait_until_async

from gateway.names import Branch, Commit
from gateway.repositories.arrivals import Arrivals
from gateway.repositories.followed import Backoff
from gateway.repositories.move import Move
from gateway.repositories.watcher import Watcher

PROD, EXP, SUB = Branch("prod"), Branch("exp"), Branch("exp/sub")
Made = Callable[..., Arrivals]


class Seen:
    """What a watcher handed over."""

    def __init__(
        self, arrivals: Arrivals, *branches: Branch, poll: float = 0.3, **options: Any
    ) -> None:
        self.moves: list[Move] = []
        #: Delivered while their provenance was looked for.
        self.early: list[Move] = []
        self.troubles: list[tuple[Branch, Commit | None, str, str]] = []
        self.polls: list[str] = []
        self.watcher = Watcher(
            arrivals,
            dict.fromkeys(branches),
            poll=poll,
            deliver=self._deliver,
            trouble=lambda *what: self.troubles.append(what),
            polled=self.polls.append,
            chance=random.Random(1),
            **options,
        )

    def _deliver(self, move: Move) -> None:
        (self.early if move.settling else self.moves).append(move)

    def tip(self, branch: Branch) -> Commit | None:
        return next((move.tip for move in reversed(self.moves) if move.branch == branch), None)

    def kinds(self) -> list[tuple[Branch, str]]:
        return [(branch, kind) for branch, _, kind, _ in self.troubles]

    async def until(self, condition: Callable[[], object]) -> None:
        await wait_until_async(condition, describe=lambda: (self.moves, self.troubles))

    async def delivered(self, branch: Branch, tip: str) -> None:
        self.watcher.look()
        await self.until(lambda: self.tip(branch) == tip)

    def word(self, branch: Branch) -> str | None:
        word: str | None = self.watcher.status()["branches"][branch]["trouble"]
        return word

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Watcher]:
        task = asyncio.create_task(self.watcher.run())
        try:
            yield self.watcher
        finally:
            assert not task.done(), task
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.fixture
def arrivals(arrivals_in: Made, remote: Remote, tmp_path: Path) -> Arrivals:
    return arrivals_in(tmp_path / "state", str(remote.path))


def test_moves_are_followed_by_poll_and_at_once_when_told(
    arrivals: Arrivals, remote: Remote
) -> None:
    async def story() -> None:
        seen = Seen(arrivals, PROD)
        async with seen.running():
            await seen.delivered(PROD, remote.tip("prod"))
            tip = remote.commit("prod", {"models/model.pkl": "new"})
            await seen.until(lambda: seen.tip(PROD) == tip)
        slow = Seen(arrivals, PROD, poll=3600)
        async with slow.running():
            await slow.until(lambda: slow.moves)
            tip = remote.commit("prod", {"models/model.pkl": "newer"})
            await slow.delivered(PROD, tip)
            status = slow.watcher.status()
            assert status["last_error"] is None
            assert {"tip": tip, "trouble": None, "text": None}.items() <= status["branches"][
                PROD
            ].items()
        assert "failed" not in slow.polls

    asyncio.run(story())


class Rests:
    """In place of the rest after a poll: each lasts until `end`."""

    def __init__(self) -> None:
        self.begun = 0
        self._over = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        assert seconds > 0
        self.begun += 1
        await self._over.acquire()

    def end(self) -> None:
        self._over.release()


async def turns(count: int = 50) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_flood_of_calls_to_look_makes_one_poll_a_rest(arrivals: Arrivals) -> None:
    async def story() -> None:
        rests = Rests()
        seen = Seen(arrivals, PROD, poll=3600, rest=rests)
        async with seen.running() as watcher:
            for polls in range(1, 4):
                await seen.until(lambda polls=polls: rests.begun == polls)  # type: ignore[misc]
                for _ in range(100):
                    watcher.look()
                    await asyncio.sleep(0)
                assert len(seen.polls) == polls
                rests.end()

    asyncio.run(story())


def test_a_look_during_a_poll_makes_one_more_poll_after_it(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What moved after the listing was made is not in it."""

    async def story() -> None:
        heads = arrivals.heads
        listed, go_on = threading.Event(), threading.Event()

        def slow(wanted: Iterable[Branch]) -> Any:
            found = heads(wanted)
            listed.set()
            assert go_on.wait(120)
            return found

        monkeypatch.setattr(arrivals, "heads", slow)
        rests = Rests()
        seen = Seen(arrivals, PROD, poll=3600, rest=rests)
        async with seen.running() as watcher:
            await seen.until(listed.is_set)
            watcher.look()
            watcher.look()
            go_on.set()
            await seen.until(lambda: rests.begun == 1)
            rests.end()
            await seen.until(lambda: rests.begun == 2)
            last = watcher.status()["last_poll"]
            rests.end()
            await turns()
            assert watcher.status()["last_poll"] == last, "nobody asked for a third"
            assert rests.begun == len(seen.polls) == 2

    asyncio.run(story())


def test_a_quiet_move_is_delivered_and_an_unmoved_branch_is_not(
    arrivals: Arrivals, remote: Remote
) -> None:
    async def story() -> None:
        seen = Seen(arrivals, PROD, poll=0.05)
        async with seen.running():
            await seen.delivered(PROD, remote.tip("prod"))
            tip = remote.commit("prod", {"monitoring/a.csv": "x"})
            await seen.delivered(PROD, tip)
            polls = len(seen.polls)
            await seen.until(lambda: len(seen.polls) > polls + 3)
        first, quiet = seen.moves
        assert (first.fingerprint, first.commit) == (quiet.fingerprint, quiet.commit)

    asyncio.run(story())


def test_content_that_is_refused_stops_no_other_branch_and_is_said_once(
    arrivals: Arrivals, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        take = arrivals.take
        taken: list[str] = []

        def counted(branch: Branch, tip: Commit, model: str | None) -> object:
            taken.append(tip)
            return take(branch, tip, model)

        monkeypatch.setattr(arrivals, "take", counted)
        good = remote.commit("exp", {"src/serve.py": "x"}, start="prod")
        seen = Seen(arrivals, PROD, EXP, poll=0.05)
        async with seen.running():
            await seen.delivered(EXP, good)
            bad = remote.commit("exp", {"models/big.pkl.dvc": "x"})
            tip = remote.commit("prod", {"README.md": "x"})
            await seen.delivered(PROD, tip)
            await seen.until(lambda: seen.troubles)
            polls = len(seen.polls)
            await seen.until(lambda: len(seen.polls) > polls + 3)
            assert seen.kinds() == [(EXP, "content")]
            assert taken.count(Commit(bad)) == 1
            assert bad == seen.troubles[0][1]
            assert "DVC pointer" in seen.troubles[0][3]
            assert seen.word(EXP) == "content"
            mended = remote.commit("exp", {"models/big.pkl.dvc": None})
            await seen.delivered(EXP, mended)
            assert seen.word(EXP) is None

    asyncio.run(story())


def test_content_that_is_away_is_said_once_and_tried_again_without_a_move(
    arrivals_in: Made,
    environment: dict[str, str],
    remote: Remote,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        environment["PATH"] = tools(tmp_path / "bin", "git", "sh", "cat")
        arrivals = arrivals_in(tmp_path / "state", str(remote.path))
        take = arrivals.take
        taken: list[Branch] = []

        def counted(branch: Branch, tip: Commit, model: str | None) -> object:
            taken.append(branch)
            return take(branch, tip, model)

        monkeypatch.setattr(arrivals, "take", counted)
        tip = remote.commit("exp", {"models/model.pkl": pointer(b"content")}, start="prod")
        # Nothing but the retry itself can look again within the test.
        seen = Seen(arrivals, PROD, EXP, poll=3600)
        async with seen.running():
            await seen.until(lambda: taken.count(EXP) > 1)
            assert seen.kinds() == [(EXP, "content")]
            assert "install it there" in seen.troubles[0][3]
            assert seen.word(EXP) == "content"
            stand_in(tmp_path / "bin", b"content")
            await seen.until(lambda: seen.tip(EXP) == tip)
            assert seen.word(EXP) is None
        assert seen.kinds() == [(EXP, "content")]

    asyncio.run(story())


def test_a_raised_limit_is_reason_to_look_again_at_what_was_too_large(
    arrivals: Arrivals, remote: Remote
) -> None:
    async def story() -> None:
        arrivals.bound(1000)
        seen = Seen(arrivals, PROD, poll=3600)
        async with seen.running() as watcher:
            await seen.until(lambda: seen.word(PROD) == "content")
            assert "limits.snapshot_bytes" in seen.troubles[0][3]
            watcher.configure({PROD: None}, 3600, 10**9)
            await seen.until(lambda: seen.tip(PROD) == remote.tip("prod"))
        assert seen.kinds() == [(PROD, "content")]

    asyncio.run(story())


def test_a_deleted_branch_is_missing_and_followed_again_when_recreated(
    arrivals: Arrivals, remote: Remote
) -> None:
    async def story() -> None:
        tip = remote.commit("exp", {"src/serve.py": "x"}, start="prod")
        seen = Seen(arrivals, EXP, SUB, poll=0.05)
        async with seen.running():
            await seen.delivered(EXP, tip)
            person(remote.path, "update-ref", "-d", "refs/heads/exp")
            person(remote.path, "update-ref", "refs/heads/exp/sub", remote.tip("prod"))
            await seen.delivered(SUB, remote.tip("prod"))
            await seen.until(lambda: seen.word(EXP) == "missing")
            assert f"held at {tip} goes on" in seen.troubles[-1][3]
            person(remote.path, "update-ref", "-d", "refs/heads/exp/sub")
            person(remote.path, "update-ref", "refs/heads/exp", tip)
            await seen.until(lambda: seen.word(EXP) is None and seen.word(SUB) == "missing")

    asyncio.run(story())


def test_a_forced_push_back_is_followed(arrivals: Arrivals, remote: Remote) -> None:
    async def story() -> None:
        old = remote.tip("prod")
        new = remote.commit("prod", {"models/model.pkl": "new"})
        seen = Seen(arrivals, PROD)
        async with seen.running():
            await seen.delivered(PROD, new)
            person(remote.path, "update-ref", "refs/heads/prod", old)
            await seen.delivered(PROD, old)
        assert seen.moves[0].fingerprint != seen.moves[-1].fingerprint

    asyncio.run(story())


def test_a_remote_away_is_said_and_heals_by_itself(arrivals: Arrivals, remote: Remote) -> None:
    async def story() -> None:
        seen = Seen(arrivals, PROD, poll=0.05)
        away = remote.path.with_name("away")
        async with seen.running():
            await seen.delivered(PROD, remote.tip("prod"))
            remote.path.rename(away)
            await seen.until(lambda: seen.polls.count("failed") > 2)
            assert seen.kinds() == [(PROD, "remote")]
            assert seen.watcher.status()["last_error"]
            away.rename(remote.path)
            tip = remote.commit("prod", {"README.md": "back"})
            await seen.until(lambda: seen.tip(PROD) == tip)
            assert seen.word(PROD) is None
            assert seen.watcher.status()["last_error"] is None

    asyncio.run(story())


def test_a_start_with_the_remote_away_serves_the_last_good(
    arrivals: Arrivals, arrivals_in: Made, remote: Remote, tmp_path: Path
) -> None:
    async def story() -> None:
        seen = Seen(arrivals, PROD)
        async with seen.running():
            await seen.delivered(PROD, remote.tip("prod"))
        away = remote.path.with_name("away")
        remote.path.rename(away)
        again = Seen(arrivals_in(tmp_path / "state", str(remote.path)), PROD, poll=0.05)
        async with again.running():
            await again.until(lambda: again.troubles)
            assert seen.moves == again.moves
            assert "kept from before" in again.troubles[0][3]
            away.rename(remote.path)
            tip = remote.commit("prod", {"models/model.pkl": "new"})
            await again.until(lambda: again.tip(PROD) == tip)

    asyncio.run(story())


def test_a_start_on_refused_content_or_a_deleted_branch_serves_the_last_good(
    arrivals: Arrivals, arrivals_in: Made, remote: Remote, tmp_path: Path
) -> None:
    async def story() -> None:
        remote.commit("exp", {"src/serve.py": "x"}, start="prod")
        seen = Seen(arrivals, PROD, EXP)
        async with seen.running():
            await seen.until(lambda: len(seen.moves) == 2)
        remote.commit("prod", {"models/big.dvc": "x"})
        person(remote.path, "update-ref", "-d", "refs/heads/exp")
        again = Seen(arrivals_in(tmp_path / "state", str(remote.path)), PROD, EXP)
        async with again.running():
            await again.until(lambda: len(again.moves) == 2)
            assert {(PROD, "content"), (EXP, "missing")} == set(again.kinds())
        assert set(seen.moves) == set(again.moves)

    asyncio.run(story())


def test_branches_and_models_change_while_running(arrivals: Arrivals, remote: Remote) -> None:
    async def story() -> None:
        remote.commit("exp", {"src/serve.py": "x"}, start="prod")
        seen = Seen(arrivals, PROD, poll=3600)
        async with seen.running() as watcher:
            await seen.until(lambda: seen.moves)
            watcher.configure({EXP: None}, 3600)
            await seen.until(lambda: seen.tip(EXP))
            assert list(watcher.status()["branches"]) == [EXP]
            before = seen.moves[-1].fingerprint
            watcher.configure({EXP: "models/model.pkl"}, 3600)
            await seen.until(lambda: seen.moves[-1].fingerprint != before)
            watcher.configure({EXP: "models/none.pkl"}, 3600)
            await seen.until(lambda: seen.word(EXP) == "content")

    asyncio.run(story())


def test_what_is_followed_survives_pruning(arrivals: Arrivals, remote: Remote) -> None:
    async def story() -> None:
        seen = Seen(arrivals, PROD, EXP)
        async with seen.running():
            await seen.until(lambda: seen.moves and seen.troubles)
            for n in range(8):
                await seen.delivered(EXP, remote.commit("exp", {"src/serve.py": f"{n}"}))
            await seen.until(lambda: not seen.moves[1].root.exists())
            assert seen.moves[0].root.exists()

    asyncio.run(story())


def test_the_loop_is_free_while_git_works(
    arrivals: Arrivals, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One branch's fetch hangs; the loop and the other branch go on, and stopping is prompt."""

    async def story() -> None:
        release = threading.Event()
        remote.commit("exp", {"src/serve.py": "x"}, start="prod")
        take = arrivals.take

        def slow(branch: Branch, tip: Commit, model: str | None) -> object:
            if branch == EXP:
                release.wait(120)
            return take(branch, tip, model)

        monkeypatch.setattr(arrivals, "take", slow)
        seen = Seen(arrivals, PROD, EXP, poll=0.05)
        async with seen.running():
            await seen.delivered(PROD, remote.tip("prod"))
            await seen.delivered(PROD, remote.commit("prod", {"README.md": "x"}))
            assert seen.tip(EXP) is None
            release.set()
            await seen.delivered(EXP, remote.tip("exp"))

    asyncio.run(story())


def test_a_failure_nobody_foresaw_is_said_and_tried_again(
    arrivals: Arrivals, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        take = arrivals.take
        failures = iter([RuntimeError("odd")])

        def fails(branch: Branch, tip: Commit, model: str | None) -> object:
            for failure in failures:
                raise failure
            return take(branch, tip, model)

        monkeypatch.setattr(arrivals, "take", fails)
        # Nothing but the retry itself can look again within the test.
        seen = Seen(arrivals, PROD, poll=3600)
        async with seen.running():
            await seen.until(lambda: seen.tip(PROD) == remote.tip("prod"))
        assert seen.kinds() == [(PROD, "machine")]
        assert "RuntimeError: odd" in seen.troubles[0][3]

    asyncio.run(story())


@pytest.mark.parametrize("ending", ["found", "not found", "OSError", "RuntimeError"])
def test_new_content_is_delivered_before_its_commit_is_looked_for(
    arrivals: Arrivals, remote: Remote, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """And once more when that is over, however it ends."""
    content = remote.tip("prod")
    tip = remote.commit("prod", {"README.md": "quiet"})

    async def story() -> None:
        settle, delivered = arrivals.settle, threading.Event()

        def slow(branch: Branch, move: Move, deadline: float) -> Move | None:
            assert delivered.wait(120)
            if ending.endswith("Error"):
                raise {"OSError": OSError, "RuntimeError": RuntimeError}[ending]("odd")
            return settle(branch, move, deadline) if ending == "found" else None

        monkeypatch.setattr(arrivals, "settle", slow)
        seen = Seen(arrivals, PROD, poll=3600)
        async with seen.running():
            await seen.until(lambda: seen.early)
            assert seen.moves == []
            delivered.set()
            await seen.delivered(PROD, tip)
        commit = content if ending == "found" else tip
        named = replace(seen.early[0], commit=Commit(commit), commit_known=ending == "found")
        assert seen.moves[0] == replace(named, settling=False)
        assert seen.troubles == []

    asyncio.run(story())


def test_waits_double_up_to_a_bound_and_start_anew() -> None:
    backoff = Backoff(30.0)
    waits = [backoff.next_delay() for _ in range(10)]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    backoff.succeeded()
    assert backoff.next_delay() == 2
    assert Backoff(0.5).next_delay() == 0.5
