"""The watcher over a folder: soon again while something moves, and one branch's trouble is its."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mounted import Mounted
from waiting import wait_until_async

from gateway.names import Branch, Commit
from gateway.repositories.arrivals import Bounds
from gateway.repositories.folder import Folder
from gateway.repositories.folder_arrivals import FolderArrivals
from gateway.repositories.move import Move
from gateway.repositories.remembered import Remembered
from gateway.repositories.snapshots import Snapshots
from gateway.repositories.watcher import Watcher
from gateway.repositories.worktree import WorkTrees

PROD, EXP = Branch("prod"), Branch("exp")


class Seen:
    """What a watcher over the folder handed over."""

    def __init__(self, folder: Mounted, state: Path, poll: float) -> None:
        state.mkdir(exist_ok=True)
        self.moves: list[Move] = []
        self.troubles: list[tuple[Branch, Commit | None, str, str]] = []
        self.polls: list[str] = []
        self.watcher = Watcher(
            FolderArrivals(
                Folder(folder.path),
                WorkTrees({"PATH": os.environ["PATH"]}),
                Snapshots(state / "snapshots"),
                Remembered(state / "branches.json"),
                Bounds(),
            ),
            {PROD: None, EXP: None},
            poll=poll,
            deliver=self.moves.append,
            trouble=lambda *what: self.troubles.append(what),
            polled=self.polls.append,
            chance=random.Random(1),
        )

    async def until(self, branch: Branch, content: str) -> None:
        def served() -> bool:
            newest = [move for move in self.moves if move.branch == branch][-1:]
            return any((m.root / "models/m.pkl").read_text() == content for m in newest)

        await wait_until_async(served, describe=lambda: (self.moves, self.troubles))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.watcher.run())
        try:
            yield
        finally:
            assert not task.done(), task
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


def test_a_first_tip_needs_no_second_poll_and_is_not_missing_meanwhile(tmp_path: Path) -> None:
    async def story() -> None:
        folder = Mounted(tmp_path / "mnt")
        folder.write("prod", {"models/m.pkl": "one"})
        folder.write("exp", {"models/m.pkl": "two"})
        seen = Seen(folder, tmp_path / "state", poll=8)
        async with seen.running():
            await seen.until(PROD, "one")
            await seen.until(EXP, "two")
        assert seen.troubles == []

    asyncio.run(story())


def test_troubles_of_one_branch_and_of_the_mount_are_told_apart_and_heal(tmp_path: Path) -> None:
    async def story() -> None:
        folder = Mounted(tmp_path / "mnt")
        folder.write("prod", {"models/m.pkl": "one"})
        (folder.path / "exp").symlink_to("exp")
        seen = Seen(folder, tmp_path / "state", poll=0.1)
        async with seen.running():
            await seen.until(PROD, "one")
            assert [(branch, kind) for branch, _, kind, _ in seen.troubles] == [(EXP, "remote")]
            assert "symbolic links" in seen.watcher.status()["branches"][EXP]["text"]
            assert "failed" not in seen.polls
            (folder.path / "exp").unlink()
            folder.write("exp", {"models/m.pkl": "two"})
            await seen.until(EXP, "two")
            assert seen.watcher.status()["branches"][EXP]["trouble"] is None
            folder.path.rename(tmp_path / "away")
            await wait_until_async(lambda: "failed" in seen.polls)
            assert seen.watcher.status()["branches"][PROD]["trouble"] == "remote"
            (tmp_path / "away").rename(folder.path)
            folder.write("prod", {"models/m.pkl": "three"})
            await seen.until(PROD, "three")
            (folder.path / "exp").rename(tmp_path / "gone")
            await wait_until_async(lambda: seen.troubles[-1][:3] == (EXP, None, "missing"))
            (tmp_path / "gone").rename(folder.path / "exp")
            await wait_until_async(
                lambda: seen.watcher.status()["branches"][EXP]["trouble"] is None
            )

    asyncio.run(story())
