"""Three replicas on one Redis and one repository are one gateway, whatever befalls any of them.

What users lived is told by their log alone (`replica_crowd.Truth`); git and the read-out of every
replica must say the same.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from experiment_world import Visit, visits
from gitrepo import Remote
from redisdocs import asked, came_with, documents
from redisserver import RedisServer
from replica_crowd import BRANCHES, METRICS, PATIENT, Crowd, Truth, most_lost
from replicas import Replicas
from running import Gateway, recorded
from waiting import wait_until

#: Users of each story; they ask one and a half times each.
CALM, SCALED = 2_000, 2_000
#: Of the storm, by kind of server: all of it is for the tests of the system, which have more time.
STORM = {"redis-server": 20_000, "valkey-server": 6_000}
#: Seconds a connection rests between two requests, and requests between two blows of the storm.
PAUSE, STEP = 0.05, 300
Deed = Callable[[], Awaitable[None]]
SERVE = """
ROW_WISE = True
def load(root):
    return {edge}
def predict(model, instances):
    return [int(row[0] > model) for row in instances]
"""


def serve(edge: float) -> dict[str, str]:
    return {"src/serve.py": SERVE.format(edge=edge)}


def weighted(prod: int, exp: int) -> dict[str, dict[str, Any]]:
    return {"prod": {"weight": prod, **PATIENT}, "exp": {"weight": exp, **PATIENT}}


@pytest.fixture
def replicas(tmp_path: Path, remote: Remote, server: RedisServer) -> Iterator[Replicas]:
    remote.commit("prod", serve(0.5))
    remote.commit("exp", serve(0.45), start="prod")
    with Replicas(
        tmp_path,
        remote,
        weighted(75, 25),
        server,
        metrics=METRICS,
        exclude={"User-Agent": ["*robot*"]},
        monitoring={"flush": "2s"},
    ) as replicas:
        yield replicas


class Story:
    """A crowd that lives, and what happens meanwhile."""

    def __init__(self, replicas: Replicas, log: Path, seed: int) -> None:
        self.replicas = replicas
        self.remote = replicas.remote
        self.log = log
        self.seed = seed
        self.rng = random.Random(seed)

    def lived(self, happens: Callable[[Crowd], Awaitable[None]]) -> Crowd:
        """All of it: outcomes go out the whole time, and all are told at the end."""

        async def live() -> Crowd:
            with self.log.open("w") as written:
                crowd = Crowd(self.replicas, written, self.seed)
                async with asyncio.TaskGroup() as group:
                    telling = group.create_task(crowd.tell())
                    await happens(crowd)
                    await crowd.all_told()
                    telling.cancel()
            return crowd

        return asyncio.run(live())

    async def weigh(self, crowd: Crowd, prod: int, exp: int) -> None:
        """While nobody asks."""
        for front in self.replicas.fronts:
            front.write(branches=weighted(prod, exp))
        await crowd.in_force({"prod": prod, "exp": exp})

    def truth(self) -> Truth:
        return Truth(self.log, self.remote, self.replicas)


@pytest.mark.timeout(600)
def test_three_replicas_are_one_gateway(tmp_path: Path, replicas: Replicas) -> None:
    story = Story(replicas, tmp_path / "world.jsonl", seed=21)
    replicas.leads()
    replicas.until_well()

    async def happens(crowd: Crowd) -> None:
        todo = visits(story.rng, CALM)
        await crowd.in_force({"prod": 75, "exp": 25})
        await crowd.live(todo[: len(todo) // 2])
        await story.weigh(crowd, 50, 50)
        await crowd.live(todo[len(todo) // 2 :])

    crowd = story.lived(happens)
    assert crowd.lost == 0
    assert crowd.answered > CALM
    story.truth().check()
    # In calm nobody but the first holder ever wrote.
    writers = [who for who, _, _ in replicas.pushes()]
    assert len(writers) > 3
    assert set(writers) == {replicas.leads().folder.name}
    roles = [replicas.shared(front)["role"] for front in replicas.fronts]
    assert sorted(roles) == ["leads", "stands by", "stands by"]
    assert [replicas.shared(front)["skew"] for front in replicas.fronts] == [[], [], []]
    if documents(replicas.server):
        used = asked(replicas.server)
        assert [name for name in used if came_with(replicas.server, name) > (6, 2, 0)] == []
    assert [front.stop() for front in replicas.fronts] == [0, 0, 0]


class Storm:
    """What befalls the replicas while people ask. Each deed ends when it has been felt."""

    def __init__(self, story: Story, crowd: Crowd) -> None:
        self.story = story
        self.replicas = story.replicas
        self.server = story.replicas.server
        self.crowd = crowd
        self.done: list[str] = []
        self._pushes = 0

    @property
    def deeds(self) -> list[Deed]:
        return [
            *(self.holders_monitor_dies, self.a_monitor_dies, self.holder_freezes),
            *(self.a_front_dies, self.a_front_freezes, self.a_replica_is_restarted),
            *(self.redis_freezes, self.redis_is_emptied, self.redis_goes_back),
            *(self.redis_is_full, self.all_are_cut_off, self.holder_is_cut_off),
            *(self.lines_are_dumb, self.lines_are_slow, self.answers_are_lost),
        ]

    async def over(self, visits: list[Visit], deeds: list[Deed]) -> None:
        """People come, and these deeds befall them."""

        async def live() -> None:
            self.crowd.pause, self.crowd.is_over = PAUSE, False
            await self.crowd.live(visits)
            self.crowd.is_over = True

        async def rage() -> None:
            for deed in deeds:
                await self.crowd.more(STEP)
                await asyncio.to_thread(self.a_person_pushes)
                name = getattr(deed, "__name__", "")
                self.crowd.note("deed", name=name)
                await deed()
                self.done.append(name)
            self.crowd.pause = 0.0

        async with asyncio.TaskGroup() as group:
            group.create_task(live())
            group.create_task(rage())

    def a_person_pushes(self) -> None:
        """What is served stays the same."""
        self._pushes += 1
        branch = self.story.rng.choice(["prod", "exp"])
        self.story.remote.commit(branch, {f"notes-{branch}-{self._pushes}.txt": "noted"})

    def someone(self) -> Gateway:
        return self.story.rng.choice(self.replicas.up)

    async def holders_monitor_dies(self) -> None:
        self.replicas.kill_monitor(await asyncio.to_thread(self.replicas.leads))

    async def a_monitor_dies(self) -> None:
        self.replicas.kill_monitor(self.someone())

    async def holder_freezes(self) -> None:
        """Until another one leads: then there are two that think they do."""
        holder = await asyncio.to_thread(self.replicas.leads)
        self.replicas.freeze(self.replicas.monitor(holder))
        await asyncio.to_thread(self.replicas.until_another_leads, holder)
        self.replicas.thaw()

    async def a_front_dies(self) -> None:
        front = self.someone()
        await self.crowd.kill(front)
        await self.crowd.more(100)
        await asyncio.to_thread(self.replicas.start, front)

    async def a_front_freezes(self) -> None:
        """Connections of the others go on."""
        front = self.someone()
        assert front.process is not None
        self.replicas.freeze(front.process.pid)
        await self.crowd.more(100)
        self.replicas.thaw()

    async def a_replica_is_restarted(self) -> None:
        front = self.someone()
        await self.crowd.stop(front)
        await asyncio.to_thread(self.replicas.start, front)

    async def redis_freezes(self) -> None:
        self.server.freeze()
        await asyncio.to_thread(self.replicas.until_degraded)
        await self.crowd.more(100)
        self.server.thaw()

    async def redis_is_emptied(self) -> None:
        # In this thread: the server dies with the thread that starts it.
        self.server.restart()

    async def redis_goes_back(self) -> None:
        """As after a failover to a copy that was behind."""
        with self.server.client() as client:
            client.save()
        await self.crowd.more(200)
        self.server.kill()
        self.server.start()

    async def redis_is_full(self) -> None:
        self.server.fill()
        await asyncio.to_thread(self.replicas.until_degraded)
        await self.crowd.more(100)
        self.server.drain()

    async def all_are_cut_off(self) -> None:
        self.replicas.cut()
        await asyncio.to_thread(self.replicas.until_degraded)
        await self.crowd.more(100)
        self.replicas.mend()

    async def holder_is_cut_off(self) -> None:
        holder = await asyncio.to_thread(self.replicas.leads)
        line = self.replicas.line(holder)
        line.cut()
        await asyncio.to_thread(self.replicas.until_another_leads, holder)
        line.mend()

    async def lines_are_dumb(self) -> None:
        for line in self.replicas.lines:
            line.is_dumb = True
        await asyncio.to_thread(self.replicas.until_degraded)
        self.replicas.mend()

    async def lines_are_slow(self) -> None:
        for line in self.replicas.lines:
            line.delay = 0.3
        await self.crowd.more(300)
        self.replicas.mend()

    async def answers_are_lost(self) -> None:
        for line in self.replicas.lines:
            line.loses_answers = True
        await asyncio.to_thread(self.replicas.until_answers_are_lost)
        self.replicas.mend()


@pytest.mark.timeout(1200)
def test_nothing_is_lost_or_counted_twice_in_a_storm(tmp_path: Path, replicas: Replicas) -> None:
    story = Story(replicas, tmp_path / "world.jsonl", seed=22)
    users = STORM[replicas.server.program]
    done: list[str] = []

    async def happens(crowd: Crowd) -> None:
        todo = visits(story.rng, users)
        storm = Storm(story, crowd)
        deeds = storm.deeds
        story.rng.shuffle(deeds)
        half = len(todo) // 2
        await story.weigh(crowd, 75, 25)
        await storm.over(todo[:half], deeds[::2])
        await story.weigh(crowd, 50, 50)
        await storm.over(todo[half:], deeds[1::2])
        done.extend(storm.done)

    crowd = story.lived(happens)
    replicas.until_well()
    assert len(set(done)) == 15
    assert crowd.answered > users
    assert crowd.lost <= most_lost(crowd)
    story.truth().check()
    # Two that led at the same time would have taken turns in writing.
    writers = [who for who, _, _ in replicas.pushes()]
    assert sum(one != other for one, other in itertools.pairwise(writers)) <= len(done)
    assert [front.stop() for front in replicas.fronts] == [0, 0, 0]


@pytest.mark.timeout(600)
def test_scaled_to_one_and_back_while_redis_is_away_nothing_is_lost(
    tmp_path: Path, replicas: Replicas
) -> None:
    story = Story(replicas, tmp_path / "world.jsonl", seed=23)
    replicas.leads()
    first, *others = replicas.fronts

    async def happens(crowd: Crowd) -> None:
        todo = visits(story.rng, SCALED)
        parts = [todo[k::4] for k in range(4)]
        await crowd.in_force({"prod": 75, "exp": 25})
        await crowd.live(parts[0])
        # In order, with Redis there: whoever stays publishes what they leave.
        await crowd.stop(others[0])
        await crowd.live(parts[1])
        replicas.cut()
        await asyncio.to_thread(replicas.until_degraded)
        await crowd.live(parts[2])
        # What it still has stays on its disk, which the next one finds.
        await crowd.stop(others[1])
        await crowd.live(parts[3][::2])
        replicas.mend()
        for front in others:
            await asyncio.to_thread(replicas.start, front)
        await crowd.live(parts[3][1::2])

    crowd = story.lived(happens)
    assert crowd.answered > SCALED
    replicas.until_well()
    assert set(replicas.up) == {first, *others}
    story.truth().check()


@pytest.mark.timeout(400)
def test_whole_chunks_of_a_replica_that_is_gone_for_good_are_published(
    tmp_path: Path, replicas: Replicas
) -> None:
    """It dies with all its processes before anything is pushed, and its disk with them."""
    holder = replicas.leads()
    gone = next(front for front in replicas.fronts if front is not holder)
    refusal = replicas.remote.hook("pre-receive", "exit 1")
    answers = [gone.predict([[0.7]], f"user-{number}").json() for number in range(50)]
    ids = {answer["request_id"] for answer in answers}

    wait_until(lambda: replicas.has_shipped_all(gone), 60.0, gone.words)
    replicas.kill_all_of(gone)
    (gone.folder / ".gateway").rename(tmp_path / "lost")

    def pushed() -> Counter[str]:
        # Refused at its own branch, it goes beside it.
        refs = [(name, ref) for name in BRANCHES for ref in (name, f"gateway-monitoring/{name}")]
        rows = [row for name, ref in refs for row in recorded(replicas.remote, name, ref)]
        return Counter(row["request_id"] for row in rows)

    assert not pushed()
    refusal.unlink()
    wait_until(lambda: pushed() == Counter(ids), 120.0, replicas.words)


@pytest.mark.timeout(600)
def test_the_open_chunk_of_a_replica_that_is_gone_is_published_and_its_rest_if_it_comes_back(
    tmp_path: Path, remote: Remote, server: RedisServer
) -> None:
    """Chunks stay open: nothing would ever end that of a replica that is gone."""
    remote.commit("prod", serve(0.5))
    remote.commit("exp", serve(0.45), start="prod")
    branches, patient = weighted(75, 25), {"flush": "1h"}
    with Replicas(
        tmp_path, remote, branches, server, monitoring=patient, gone_after="2s"
    ) as replicas:
        holder = replicas.leads()
        gone = next(front for front in replicas.fronts if front is not holder)

        def asked(numbers: range) -> set[str]:
            answers = [gone.predict([[0.7]], f"user-{number}").json() for number in numbers]
            return {str(answer["request_id"]) for answer in answers}

        def pushed() -> Counter[str]:
            rows = [row for name in BRANCHES for row in recorded(remote, name)]
            return Counter(row["request_id"] for row in rows)

        known = asked(range(40))
        wait_until(lambda: replicas.has_shipped(gone), 60.0, gone.words)
        replicas.line(gone).cut()
        unknown = asked(range(40, 60))
        replicas.kill_all_of(gone)
        wait_until(lambda: set(pushed()) & known == known, 120.0, replicas.words)
        assert pushed() == Counter(known)
        # Its disk is there all the same.
        replicas.mend()
        replicas.start(gone)
        wait_until(lambda: set(pushed()) >= known | unknown, 120.0, replicas.words)
        assert pushed() == Counter(known | unknown)
        assert [front.stop() for front in replicas.fronts] == [0, 0, 0]
        assert pushed() == Counter(known | unknown)
