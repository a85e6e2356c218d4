"""What clients ask: rows of the breast cancer data, named or as arrays, for users who return."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from sklearn.datasets import load_breast_cancer

CUSTOMERS = 300
MOST_ROWS = 64


class Questions:
    """Instances and users in the forms that clients send; every choice is made by `chance`."""

    def __init__(self, chance: random.Random) -> None:
        data = load_breast_cancer()
        self._names: list[str] = [str(name) for name in data.feature_names]
        self._rows: list[list[float]] = data.data.tolist()
        self._chance = chance

    def instances(self, count: int, *, named: bool) -> list[Any]:
        rows = self._chance.sample(self._rows, count)
        return [self._named(row) for row in rows] if named else rows

    def several(self) -> int:
        """A number of rows beyond one."""
        return self._chance.randint(2, MOST_ROWS)

    def customer(self) -> str:
        return f"customer-{self._chance.randrange(CUSTOMERS)}"

    def addressed(
        self, unit: str, instances: Sequence[Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The body, and the headers that belong to it.

        A customer is known by a header here, by a field of the body there: it is the same one.
        """
        body: dict[str, Any] = {"instances": instances}
        if self._chance.random() < 0.5:
            return body, {"X-User-Id": unit}
        return {**body, "unit": unit}, {}

    def _named(self, row: Sequence[float]) -> dict[str, float]:
        pairs = list(zip(self._names, row, strict=True))
        self._chance.shuffle(pairs)  # the order of names says nothing
        return dict(pairs)
