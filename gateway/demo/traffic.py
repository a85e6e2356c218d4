"""A little traffic for the demonstration: users who ask again and again, as clients do."""

from __future__ import annotations

import csv
import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.demo.repository import PROD, git

Record = dict[str, float]
#: A row, and what the model should say of it.
Labelled = tuple[Record, str]
_BATCH = 500


def rows_of(repository: Path) -> list[Labelled]:
    """The held-out rows of the data set as named records, each with its diagnosis."""
    lines = git(repository, "show", f"{PROD}:data/test.csv").splitlines()
    return [
        ({name: float(text) for name, text in row.items() if name != "diagnosis"}, row["diagnosis"])
        for row in csv.DictReader(lines)
    ]


def send(address: str, rows: list[Labelled], *, requests: int, users: int) -> Counter[str]:
    """How many of the requests each branch answered; `refused` counts those no branch did.

    Then the diagnoses are told, as they would be after a while.
    """
    answered: Counter[str] = Counter()
    told = []
    for number in range(requests):
        row, diagnosis = rows[number % len(rows)]
        body = ask(address, row, f"user-{number % users}")
        answered[body.get("branch", "refused")] += 1
        if "request_id" in body:
            outcome = {"request_id": body["request_id"], "metric": "accuracy", "label": diagnosis}
            told.append(outcome)
    for start in range(0, len(told), _BATCH):
        _post(f"{address}/feedback", {"items": told[start : start + _BATCH]})
    return answered


def ask(address: str, row: Record, user: str) -> dict[str, Any]:
    """The body of the answer, whatever its status."""
    return _post(f"{address}/predict", {"instances": [row]}, {"X-User-Id": user})


def _post(url: str, content: object, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - the address is our own, on this machine
        url,
        data=json.dumps(content).encode(),
        headers={"Content-Type": "application/json", **(headers or {})},
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
