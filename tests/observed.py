"""Branches that start in a blink and have all there is to be seen: drift, outcomes, failures."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
from running import Gateway

from gateway.profiling import write_profile

PLANS = ("basic", "plus", "pro")
#: Answers by a threshold of its own; a file that is there makes it behave as it says.
SERVE = """
import os, pathlib, resource, time
ROW_WISE = True
SIN = pathlib.Path({sin!r})
def load(root):
    if SIN.exists() and SIN.read_text() == "never loads":
        raise RuntimeError("the feature store is away")
    if SIN.exists() and SIN.read_text() == "hoards":
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[5])
        most = resource.getrlimit(resource.RLIMIT_DATA)[0]
        load.held = bytes(int(most * 0.94) - pages * resource.getpagesize())
    return {edge}
def predict(model, instances):
    word = SIN.read_text() if SIN.exists() else ""
    if word == "fails":
        raise RuntimeError("the feature store is away")
    if word == "dies":
        os._exit(1)
    if word == "is slow":
        time.sleep(0.4)
    shares = [0.9 if row["x"] > model else 0.2 for row in instances]
    return {{
        "predictions": [int(share > 0.5) for share in shares],
        "probabilities": [[1 - share, share] for share in shares],
    }}
"""


def rows(seed: int, *, moved: float = 0.0) -> Iterator[dict[str, Any]]:
    """Rows without end; `moved` ones lie elsewhere."""
    found = random.Random(seed)
    while True:
        yield {
            "x": round(found.gauss(moved, 1.0), 4),
            "y": round(found.random(), 4),
            "plan": found.choice(PLANS),
        }


def files(folder: Path, name: str, edge: float = 0.0) -> dict[str, bytes | str]:
    """Of a branch: its code, with its own file of sins, and what its rows are compared with."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(list(itertools.islice(rows(1), 2000)))
    profile = folder / f"{name}.json"
    write_profile(profile, table)
    return {
        "src/serve.py": SERVE.format(sin=str(sin(folder, name)), edge=edge),
        "metrics/reference.json": profile.read_bytes(),
    }


def sin(folder: Path, name: str) -> Path:
    return folder / f"{name}.sin"


class Users:
    """Callers who each ask once, and tell what came of it, until `with` ends."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        returned: Callable[[str, int], bool],
        names: Iterator[str] | None = None,
        moved: Callable[[], float] = lambda: 0.0,
        pause: float = 0.05,
    ) -> None:
        """`returned` says by branch and turn whether a user comes back: the outcome.

        They come one after the other, and rest for `pause` seconds after 25.
        """
        self._gateway = gateway
        self._returned = returned
        self._names = names or (f"user-{number}" for number in itertools.count())
        self._moved = moved
        self._plain = rows(2)
        self._end = threading.Event()
        self._pause = pause
        self._thread = threading.Thread(target=self._live, daemon=True)
        self.asked = 0
        #: Answers that were none, by status.
        self.failures: list[str] = []

    def __enter__(self) -> Users:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go()
        self._thread.join(60)

    def go(self) -> None:
        """They come no more."""
        self._end.set()

    def _live(self) -> None:
        with httpx.Client(base_url=self._gateway.url, timeout=30) as client:
            while not self._end.is_set():
                try:
                    items = [item for _ in range(25) if (item := self._ask(client))]
                    if items:
                        client.post("/feedback", json={"items": items})
                    self._end.wait(self._pause)
                except httpx.TransportError as error:  # it is being killed, or restarted
                    self.failures.append(repr(error))
                    self._end.wait(0.2)

    def _ask(self, client: httpx.Client) -> dict[str, Any] | None:
        self.asked += 1
        turn, user, row = self.asked, next(self._names), next(self._plain)
        # Two columns: one alone is no world that moved.
        row |= {name: row[name] + self._moved() for name in ("x", "y")}
        sent = {"X-User-Id": user}
        answer = client.post("/predict", json={"instances": [row]}, headers=sent)
        if answer.status_code != 200:
            self.failures.append(answer.text)
            return None
        body = answer.json()
        value = self._returned(body["branch"], turn)
        return {"request_id": body["request_id"], "metric": "returned", "value": value}
