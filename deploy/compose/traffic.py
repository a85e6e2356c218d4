"""Users of the demonstration: they ask all the time, and some seconds later say what was right.

Rows are drawn of all the data, so that none of it drifts; what was right is told of those that no
model was trained on, so that the branches are compared honestly.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.demo.repository import PROD, git

#: Seconds until an outcome is known, and between two attempts while nobody answers.
_LATER, _AGAIN = 10.0, 2.0
_BATCH = 100


@dataclass(frozen=True, slots=True)
class Patient:
    """One row, and what was right for it; None where a model has seen that already."""

    row: dict[str, float]
    diagnosis: str | None


def patients_of(repository: Path) -> list[Patient]:
    """Every row of the data set, of both files."""
    found = []
    for name in ("train", "test"):
        for line in csv.DictReader(git(repository, "show", f"{PROD}:data/{name}.csv").splitlines()):
            diagnosis = line.pop("diagnosis")
            row = {column: float(text) for column, text in line.items()}
            found.append(Patient(row, diagnosis if name == "test" else None))
    return found


class Users:
    """Asks the gateway at an address, as many users do, and tells outcomes."""

    def __init__(self, address: str, users: int, key: str | None, alive: Path | None) -> None:
        self._address = address.rstrip("/")
        self._users = users
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._alive = alive
        self._due: deque[tuple[float, dict[str, str]]] = deque()

    def ask(self, patient: Patient, now: float) -> bool:
        """Whether it was answered."""
        user = f"user-{random.randrange(self._users)}"  # noqa: S311 - no secret hangs on it
        answer = self._post("/predict", {"instances": [patient.row]}, {"X-User-Id": user})
        if answer is None:
            return False
        if patient.diagnosis is not None:
            outcome = {"request_id": answer["request_id"], "metric": "accuracy"}
            self._due.append((now + _LATER, {**outcome, "label": patient.diagnosis}))
        if self._alive is not None:
            self._alive.touch()
        return True

    def tell(self, now: float) -> int:
        """How many outcomes were told; those that could not be are told later."""
        due = [item for at, item in self._due if at <= now][:_BATCH]
        if not due or self._post("/feedback", {"items": due}, {}) is None:
            return 0
        for _ in due:
            self._due.popleft()
        return len(due)

    def _post(self, path: str, body: object, headers: dict[str, str]) -> dict[str, Any] | None:
        """The answer; None, and a line that says why, where there is none."""
        request = urllib.request.Request(  # noqa: S310 - the address is the demonstration's own
            self._address + path, json.dumps(body).encode(), {**self._headers, **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
                found: dict[str, Any] = json.load(response)
                return found
        except (OSError, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            print(f"{self._address}{path}: {error}", file=sys.stderr, flush=True)  # noqa: T201
            return None


def main() -> None:
    """Ask until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("address")
    parser.add_argument("--rate", type=float, default=5.0, help="requests a second")
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--key-file", type=Path, help="an API key, sent with each request")
    parser.add_argument("--alive", type=Path, help="touched at each answer")
    said = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    key = said.key_file.read_text().strip() if said.key_file else None
    users = Users(said.address, said.users, key, said.alive)
    patients = patients_of(said.repository)
    while True:
        now = time.monotonic()
        answered = users.ask(random.choice(patients), now)  # noqa: S311
        users.tell(now)
        time.sleep(1 / said.rate if answered else _AGAIN)


if __name__ == "__main__":
    main()
