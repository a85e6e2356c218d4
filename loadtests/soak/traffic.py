"""Who asks: steady clients, crowds that overload, and clients that are slow or leave."""

from __future__ import annotations

import asyncio
import random

from loadtests.questions import MOST_ROWS, Questions
from loadtests.soak.caller import Caller, Question, question
from loadtests.soak.ledger import Excuse, Ledger

#: Seconds a steady client waits on average before it asks again.
_THINKS = 0.06
_CROWD = 100
_SLOW_AT_ONCE = 10
_SLOW_EVERY = 0.5
_SLOW_SECONDS = 3.0


class Traffic:
    """Everybody who asks a gateway. The same seed asks the same, but not at the same times."""

    def __init__(self, port: int, ledger: Ledger, seed: int, clients: int) -> None:
        self._port = port
        self._ledger = ledger
        self._seed = seed
        self._clients = clients
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        bodies = [self._steady(number) for number in range(self._clients)]
        self._tasks = [asyncio.create_task(body) for body in (*bodies, self._slow_ones())]

    async def stop(self) -> None:
        """Until everybody has the answer that they wait for."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _steady(self, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        questions, caller = Questions(chance), self._caller()
        while not self._stop.is_set():
            rows = 1 if chance.random() < 0.8 else questions.several()
            outcome = await caller.ask(_some(questions, rows, named=chance.random() < 0.5))
            self._ledger.outcomes.append(outcome)
            if outcome.status in (0, 503):
                await asyncio.sleep(0.25)
            await asyncio.sleep(chance.expovariate(1 / _THINKS))
        await caller.close()

    async def overload(self, seed: int) -> None:
        """A crowd that asks for many rows at once, and once more when it was told to wait."""
        questions = Questions(random.Random(seed))
        crowd = [_some(questions, MOST_ROWS, named=False) for _ in range(_CROWD)]
        with self._ledger.excused(Excuse.OVERLOAD):
            await asyncio.gather(*(self._one_of_a_crowd(each) for each in crowd))

    async def _one_of_a_crowd(self, asked: Question) -> None:
        caller = self._caller()
        for _ in range(2):
            outcome = await caller.ask(asked)
            self._ledger.outcomes.append(outcome)
            if outcome.status != 503:
                break
            await asyncio.sleep(1.0)  # its Retry-After
        await caller.close()

    async def _slow_ones(self) -> None:
        chance = random.Random(f"{self._seed} slow")
        questions = Questions(chance)
        there: set[asyncio.Task[None]] = set()
        while not self._stop.is_set():
            behave = chance.choice(
                (self._trickle, self._stop_midway, self._say_nothing, self._leave)
            )
            if len(there) < _SLOW_AT_ONCE:
                asked = _some(questions, questions.several(), named=True)
                task = asyncio.create_task(behave(asked))
                there.add(task)
                task.add_done_callback(there.discard)
            await asyncio.sleep(_SLOW_EVERY)
        await asyncio.gather(*there)

    async def _trickle(self, asked: Question) -> None:
        """Sends slowly, and is answered like anybody."""
        caller = self._caller()
        self._ledger.outcomes.append(await caller.ask(asked, pieces=8, seconds=_SLOW_SECONDS))
        await caller.close()

    async def _stop_midway(self, asked: Question) -> None:
        await self._send_and_go(asked.message[: len(asked.message) // 2], _SLOW_SECONDS)

    async def _say_nothing(self, asked: Question) -> None:
        await self._send_and_go(b"", _SLOW_SECONDS)

    async def _leave(self, asked: Question) -> None:
        """Asks, and is gone before the answer; it may be recorded all the same."""
        self._ledger.hung_up += 1
        await self._send_and_go(asked.message, 0.0)

    async def _send_and_go(self, message: bytes, seconds: float) -> None:
        caller = self._caller()
        try:
            _, writer = await caller.connect()
            writer.write(message)
            await writer.drain()
        except OSError:
            return  # nobody was there
        await asyncio.sleep(seconds)
        await caller.close()

    def _caller(self) -> Caller:
        return Caller(self._port, self._ledger.clock)


def _some(questions: Questions, rows: int, *, named: bool) -> Question:
    instances = questions.instances(rows, named=named)
    return question(*questions.addressed(questions.customer(), instances))
