"""The keeper that follows the repository: polls its branches and hands over those that moved.

Owns when to look, when to look again after a failure, and what is wrong with each branch. What a
move consists of is `arrivals`'; who serves it is the fleet's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from gateway.errors import ContentAway, ContentError, MissingRef, RepositoryError, StateError
from gateway.names import Branch, Commit
from gateway.repositories.followed import Backoff, Followed, Kind, Trouble
from gateway.repositories.followed_file import FollowedFile
from gateway.repositories.move import Move
from gateway.repositories.repository import Heads, Repository

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_JITTER = 0.2
_AT_ONCE = 4
#: What the remote, the disk or a damaged cache do to any call.
_FAILURES = (RepositoryError, StateError, OSError)
#: Seconds that the search for provenance may hold up a swap, and that later ones may take.
_NAMING = 5.0
_SETTLING = (10.0, 30.0, 60.0)
#: Seconds from one poll to the next, however often others call `look`.
_REST = 0.25


def _now() -> datetime:
    return datetime.now(UTC)


class Watcher:
    """Follows `wanted` (branch to its `model` setting) and calls, on the event loop:

    `deliver(move)` when fingerprint, tip or provenance changed, newest only;
    `trouble(branch, tip, kind, text)` when something new is wrong with a branch: `missing` on the
    remote (the last good goes on), `content` of that tip (until the ref moves, or tried again where
    it is only away), `remote` or `machine` (tried again). A branch not delivered yet gets its last
    good of an earlier run.
    `polled("ok" | "failed")` after every poll.
    """

    def __init__(
        self,
        repository: Repository,
        wanted: Mapping[Branch, str | None],
        *,
        poll: float,
        deliver: Callable[[Move], None],
        trouble: Callable[[Branch, Commit | None, Kind, str], None],
        polled: Callable[[str], None] = lambda result: None,
        file: FollowedFile | None = None,
        chance: random.Random | None = None,
        now: Callable[[], datetime] = _now,
        rest: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._repository = repository
        self._poll = poll
        self._deliver = deliver
        self._trouble = trouble
        self._polled = polled
        self._file = file
        self._chance = chance or random.Random()  # noqa: S311  spreads polls, keeps no secret
        self._now = now
        self._rest = rest
        self._followed = {branch: Followed(branch, model, poll) for branch, model in wanted.items()}
        self._wake = asyncio.Event()
        self._remote = Backoff(poll)
        self._last_poll: datetime | None = None
        self._last_success: datetime | None = None
        self._last_error: str | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._tasks: asyncio.TaskGroup | None = None
        # Fewer than there are threads: however many branches are slow, polling goes on.
        self._slots = asyncio.Semaphore(_AT_ONCE)

    # What others call, on the event loop

    def look(self) -> None:
        """Poll now, or as soon as the poll under way is over: something says a branch moved."""
        self._wake.set()

    def configure(
        self,
        wanted: Mapping[Branch, str | None],
        poll: float,
        snapshot_bytes: int | None = None,
    ) -> None:
        """Follow these branches from now on; those that stay are not disturbed.

        What was refused is looked at again: `snapshot_bytes`, say, may be another.
        """
        if snapshot_bytes is not None:
            self._repository.bound(snapshot_bytes)
        for branch in self._followed.keys() - wanted.keys():
            self._followed.pop(branch).forget()
        for branch, model in wanted.items():
            known = self._followed.get(branch)
            if known is None:
                self._followed[branch] = Followed(branch, model, poll)
            else:
                known.use_model(model)
                known.try_again()
        self._poll = poll
        self._remote = Backoff(poll)
        self.look()

    def status(self) -> dict[str, Any]:
        """For the status page: the remote as a whole, and each branch."""
        return {
            "last_poll": _stamp(self._last_poll),
            "last_success": _stamp(self._last_success),
            "last_error": self._last_error,
            "cache": self._repository.cache_status(),
            "branches": {
                branch: {
                    "tip": followed.tip,
                    "trouble": followed.trouble and followed.trouble.kind,
                    "text": followed.trouble.text
                    if followed.trouble is not None
                    else self._repository.waits(branch),
                    "last_move": _stamp(followed.moved),
                }
                for branch, followed in self._followed.items()
            },
        }

    async def run(self) -> None:
        """The keeper's body: never returns; on cancel ends every git child and returns threads."""
        self._executor = ThreadPoolExecutor(_AT_ONCE + 2, thread_name_prefix="git")
        try:
            await self._in_thread(self._repository.open)
            async with asyncio.TaskGroup() as self._tasks:
                while True:
                    self._wake.clear()
                    delay = await self._look()
                    spread = self._chance.uniform(1 - _JITTER, 1 + _JITTER)
                    # Whoever calls `look` without pause must not make it poll without pause.
                    await self._rest(_REST)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), delay * spread - _REST)
        finally:
            self._repository.close()
            for followed in self._followed.values():
                followed.busy = False
            self._executor.shutdown(wait=False, cancel_futures=True)

    # One look

    async def _look(self) -> float:
        """Poll once and start what is to be done; seconds until the next look."""
        self._last_poll = self._now()
        try:
            heads = await self._in_thread(self._repository.heads, self._wanted())
        except _FAILURES as error:
            return self._unreachable(error)
        self._last_success, self._last_error = self._now(), None
        self._remote.succeeded()
        self._polled("ok")
        for followed in list(self._followed.values()):
            if followed.branch not in heads:
                self._gone(followed)
                continue
            tip = heads[followed.branch]
            if isinstance(tip, RepositoryError):
                self._report(followed, followed.tip, "remote", str(tip))
            elif tip is not None:
                self._start(followed, tip)
        if self._file is not None:
            self._look_at_file(self._file, heads)
        return self._repository.next_look(self._poll)

    def _look_at_file(self, file: FollowedFile, heads: Heads) -> None:
        if file.branch not in heads:
            file.trouble = f"the repository has no branch {file.branch}"
            return
        tip = heads[file.branch]
        if isinstance(tip, RepositoryError):
            file.trouble = str(tip)
        elif tip not in (None, file.tip) and not file.busy and self._tasks is not None:
            file.busy = True
            self._tasks.create_task(self._read_file(file, tip))

    async def _read_file(self, file: FollowedFile, tip: Commit) -> None:
        """Hand over what the tip holds; what fails is tried again at the next look."""
        try:
            async with self._slots:
                content = await self._in_thread(
                    self._repository.read_file, tip, file.path, file.most_bytes
                )
        except _FAILURES as error:
            file.trouble = f"{file.path} of {file.branch} at {tip} cannot be read: {error}"
            log.warning("%s", file.trouble)
        else:
            file.tip, file.trouble = tip, None
            file.changed(tip, content)
        finally:
            file.busy = False

    def _wanted(self) -> list[Branch]:
        file = [self._file.branch] if self._file is not None else []
        return list({*self._followed, *file})

    def _unreachable(self, error: Exception) -> float:
        self._last_error = str(error)
        self._polled("failed")
        log.warning("the repository cannot be polled: %s", error)
        for followed in list(self._followed.values()):
            if followed.trouble is None or followed.trouble.kind == "missing":
                self._report(followed, followed.tip, "remote", str(error))
        return self._remote.next_delay()

    def _gone(self, followed: Followed) -> None:
        followed.tip = followed.handled = None
        text = f"the repository has no branch {followed.branch}"
        if followed.move is not None:
            text += f"; what it held at {followed.move.tip} goes on being served"
        self._report(followed, None, "missing", text)

    def _start(self, followed: Followed, tip: Commit) -> None:
        """Begin what the branch needs, unless it is being done: it then sees the newer tip."""
        followed.tip = tip
        if followed.trouble is not None and followed.settled(tip):
            followed.heal()
        if followed.busy or self._tasks is None:
            return
        if followed.needs(tip, time.monotonic()):
            followed.busy = True
            self._tasks.create_task(self._follow(followed))
        elif followed.unsettled(len(_SETTLING)):
            followed.busy = True
            self._tasks.create_task(self._settle(followed))

    async def _follow(self, followed: Followed) -> None:
        """Bring the branch to its newest tip; failures become its trouble and stop nobody else."""
        try:
            while followed.tip is not None and followed.needs(followed.tip, time.monotonic()):
                tip, model = followed.tip, followed.model
                log.info("moved", extra={"branch": followed.branch, "commit": tip})
                failure = await self._attempt(followed, tip, model)
                if failure is None or not followed.present or followed.model != model:
                    continue
                retry = followed.failed(tip, failure)
                if retry is not None:
                    # The loop may be asleep for a whole poll, and the retry is due sooner.
                    asyncio.get_running_loop().call_later(retry, self.look)
                self._report(followed, tip, failure.kind, failure.text)
        finally:
            followed.busy = False

    async def _attempt(self, followed: Followed, tip: Commit, model: str | None) -> Trouble | None:
        try:
            async with self._slots:
                move, lease = await self._in_thread(
                    self._repository.take, followed.branch, tip, model
                )
        except ContentAway as error:
            return Trouble("content", str(error))
        except ContentError as error:
            return Trouble("content", str(error), lasting=True)
        except MissingRef as error:
            # Moved or deleted between the listing and the fetch: the next listing tells which.
            return Trouble("remote", str(error))
        except RepositoryError as error:
            return Trouble("remote", str(error))
        except (OSError, StateError) as error:
            return Trouble("machine", f"{tip} could not be written to the disk: {error}")
        except Exception as error:
            log.exception("branch %s at %s", followed.branch, tip)
            return Trouble("machine", f"{type(error).__name__}: {error}")
        if not followed.present or followed.model != model:
            lease.release()
            return None
        followed.took(move, lease, self._now())
        self._deliver(move)
        if move.settling:
            await self._name(followed, move)
        await self._tidy()
        return None

    async def _name(self, followed: Followed, move: Move) -> None:
        """Look for the provenance while the move is loaded; whether found or not, say so."""
        found = None
        settle = self._repository.settle
        try:
            async with self._slots:
                found = await self._in_thread(settle, followed.branch, move, _NAMING)
        except _FAILURES as error:
            log.info("no provenance yet: %s", error, extra={"branch": followed.branch})
        except Exception:
            log.exception("branch %s at %s", followed.branch, move.tip)
        if followed.move is move and followed.present:
            followed.move = found or replace(move, settling=False)
            self._deliver(followed.move)

    async def _settle(self, followed: Followed) -> None:
        """Look for the provenance that was not found in time, with more time."""
        move = followed.move
        try:
            if move is None:
                return
            deadline = _SETTLING[min(followed.searches, len(_SETTLING) - 1)]
            followed.searches += 1
            with contextlib.suppress(*_FAILURES):
                async with self._slots:
                    settled = await self._in_thread(
                        self._repository.settle, followed.branch, move, deadline
                    )
                if settled is not None and followed.move is move and followed.present:
                    followed.move = settled
                    self._deliver(settled)
        finally:
            followed.busy = False

    async def _tidy(self) -> None:
        tips = [followed.tip for followed in self._followed.values() if followed.tip]
        try:
            await self._in_thread(self._repository.tidy, tips)
        except _FAILURES as error:
            log.warning("old snapshots could not be removed: %s", error)

    # Saying what is wrong

    def _report(self, followed: Followed, tip: Commit | None, kind: Kind, text: str) -> None:
        if followed.move is None and (found := self._last_good(followed)) is not None:
            text += f"; what it held at {found.tip} is served, kept from before"
        if followed.in_trouble(tip, Trouble(kind, text)):
            self._trouble(followed.branch, tip, kind, text)

    def _last_good(self, followed: Followed) -> Move | None:
        found = self._repository.last_good(followed.branch, followed.model)
        if found is None:
            return None
        followed.restored(*found)
        self._deliver(found[0])
        return found[0]

    def _in_thread(self, call: Callable[..., Result], *arguments: object) -> Awaitable[Result]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._executor, call, *arguments)


def _stamp(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
