"""What happens while users ask: weights change, models are trained, merges land."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from itertools import cycle

from gateway.demo.repository import CHALLENGER, PROD
from gateway.errors import GatewayError
from loadtests.demonstration import WEIGHTS, Demonstration
from loadtests.judge import Judge
from loadtests.repository import DidNotLand

_STEPS = ({PROD: 50.0, CHALLENGER: 50.0}, {PROD: 90.0, CHALLENGER: 10.0}, WEIGHTS)


class Happenings:
    """A thread that does one thing after another, each only when the last is in force."""

    def __init__(
        self,
        demonstration: Demonstration,
        judge: Judge,
        pause: float,
        say: Callable[[str], None],
    ) -> None:
        self._demonstration = demonstration
        self._judge = judge
        self._pause = pause
        self._say = say
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.done: Counter[str] = Counter()
        self.trouble: str | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Wait for what is under way."""
        self._stop.set()
        self._thread.join(90)
        if self._thread.is_alive():
            self.trouble = self.trouble or "what is done to the repository does not end"

    def _run(self) -> None:
        weights = cycle(_STEPS)
        try:
            for act in cycle((lambda: self._weigh(next(weights)), self._train, self._merge)):
                if self._stop.wait(self._pause):
                    return
                act()
        except (DidNotLand, GatewayError, OSError, KeyError) as error:
            self.trouble = f"{type(error).__name__}: {error}"
            self._say(self.trouble)

    def _weigh(self, weights: dict[str, float]) -> None:
        self._judge.changing()
        self._demonstration.gateway.weigh(weights)
        self._demonstration.gateway.until_weighed(weights)
        self._judge.settled(weights)
        self._note("weight changes", str(weights))

    def _train(self) -> None:
        commit = self._demonstration.person.train()
        self._demonstration.gateway.until_served(CHALLENGER, commit)
        self._note("new models", commit)

    def _merge(self) -> None:
        commit = self._demonstration.person.merge()
        self._demonstration.gateway.until_served(PROD, commit)
        self._note("merges", commit)

    def _note(self, what: str, which: str) -> None:
        self.done[what] += 1
        self._say(f"in force: {what}: {which}")
