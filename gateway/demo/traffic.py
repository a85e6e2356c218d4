"""A little traffic for the demonstration: users who ask again and again, as clients do."""

from __future__ import annotations

import csv
import json
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from gateway.demo.repository import PROD, git

Record = dict[str, float]


def rows_of(repository: Path) -> list[Record]:
    """The held-out rows of the data set as named records, without the diagnosis."""
    lines = git(repository, "show", f"{PROD}:data/test.csv").splitlines()
    return [
        {name: float(text) for name, text in row.items() if name != "diagnosis"}
        for row in csv.DictReader(lines)
    ]


def send(address: str, rows: list[Record], *, requests: int, users: int) -> Counter[str]:
    """How many of the requests each branch answered; `refused` counts those no branch did."""
    answered: Counter[str] = Counter()
    for number in range(requests):
        user, row = f"user-{number % users}", rows[number % len(rows)]
        answered[ask(address, row, user).get("branch", "refused")] += 1
    return answered


def ask(address: str, row: Record, user: str) -> dict[str, Any]:
    """The body of the answer, whatever its status."""
    request = urllib.request.Request(  # noqa: S310 - the address is our own, on this machine
        f"{address}/predict",
        data=json.dumps({"instances": [row]}).encode(),
        headers={"Content-Type": "application/json", "X-User-Id": user},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            body: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return {"status": error.code}
    return body


def is_ready(address: str) -> bool:
    """Whether the gateway at the address says that it is ready."""
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=2) as response:  # noqa: S310
            return bool(response.status == 200)
    except OSError:
        return False
