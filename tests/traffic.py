"""Steady traffic from several users at once, and all that came back."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from typing import Any

import httpx
from running import Gateway
from waiting import wait_until


@dataclass
class Result:
    """One request's end: an HTTP answer, or the words of the failure."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


class Traffic:
    """Threads that ask without pause between `with` and its end; `results` grows meanwhile."""

    def __init__(
        self, gateway: Gateway, *, threads: int = 4, instances: Any = ((1,),), users: int = 50
    ) -> None:
        self.results: list[Result] = []
        self._gateway = gateway
        self._instances = instances
        self._users = users
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,), daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        self.more(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def more(self, count: int) -> None:
        """Wait for `count` further results."""
        wanted = len(self.results) + count
        wait_until(lambda: len(self.results) >= wanted, 120.0, lambda: self.results[-3:])

    def _ask(self, number: int) -> None:
        client = httpx.Client(timeout=30)
        for turn in itertools.count():
            if self._stop.is_set():
                break
            user = f"user-{(turn * 7 + number) % self._users}"
            try:
                answer = client.post(
                    f"{self._gateway.url}/predict",
                    json={"instances": self._instances},
                    headers={"X-User-Id": user},
                )
                self.results.append(Result(answer.status_code, answer.json()))
            except httpx.TransportError as error:
                self.results.append(Result(0, failure=repr(error)))
                # The port of a restarted gateway is another one: read the address again.
                client.close()
                client = httpx.Client(timeout=30)
        client.close()

    @property
    def failures(self) -> list[Result]:
        return [result for result in self.results if result.status != 200]

    @property
    def answered(self) -> list[dict[str, Any]]:
        return [result.body for result in self.results if result.status == 200]
