"""The door to a branch's model as it is served, asked many rows at a time.

For whoever makes a reference: what a worker answers to them is what it will answer its users.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from gateway.config.sections import BranchConfig, LimitsConfig
from gateway.config.trust import LoadRules
from gateway.errors import LoadError, ModelError
from gateway.fitted import ModelUnusable, does_not_answer
from gateway.scores import scores_of
from gateway.statistics.reference import PREDICTION, SCORE
from gateway.workers.alone import Model
from gateway.workers.containment import Containment
from gateway.workers.launch import Launch
from gateway.workers.wire import OK

#: Rows of one request: few enough for a slow model's deadline.
_ROWS = 256
_SERVING = "src/serve.py"


class ServedModel:
    """Of the branch in the folder `root` the model `file`, or its src/serve.py, while entered.

    ModelUnusable if it cannot be loaded. It is the caller's own code, so nothing contains it.
    """

    def __init__(
        self, root: Path, file: Path, skops_types: Sequence[str], runner: asyncio.Runner
    ) -> None:
        named = (root / file).relative_to(root).as_posix()
        self._where = str(file)
        self._runner = runner
        self._model = Model(
            root,
            None if named == _SERVING else named,
            "--model",
            Launch(containment=Containment("off")),
            # A faster form answers the same to the last digits, and not on every machine.
            config=BranchConfig(accelerate="off"),
            limits=LimitsConfig(),
            rules=LoadRules(skops_types=tuple(skops_types)),
        )

    def __enter__(self) -> Self:
        try:
            self._runner.run(self._model.__aenter__())
        except LoadError as error:
            # Where it serves, the setting of that name is meant.
            said = error.message.removeprefix("model: ")
            raise ModelUnusable(said, where=error.where) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._model.__aexit__(None, None, None))

    @property
    def names(self) -> tuple[str, ...] | None:
        return self._model.ready.columns

    @property
    def classes(self) -> tuple[Any, ...] | None:
        return self._model.ready.classes

    @property
    def by_name(self) -> bool:
        """Code of the branch is given what was sent, and people send names."""
        return self.names is not None or self._model.ready.kind == "custom"

    @property
    def mismatch(self) -> str | None:
        """What is to be said where the model was saved with other libraries."""
        return self._model.ready.mismatch

    def answers(
        self, names: Sequence[str], rows: Mapping[str, Sequence[Any]]
    ) -> dict[str, list[Any]]:
        """`__prediction__` and `__score__` of each row: None where no probabilities are said."""
        predictions: list[Any] = []
        scores: list[float | None] = []
        for payload in _payloads(names, rows, by_name=self.by_name):
            some, of_some = self._asked(names, payload)
            predictions += some
            scores += of_some
        return {PREDICTION: predictions, SCORE: scores}

    def _asked(self, names: Sequence[str], payload: bytes) -> tuple[list[Any], list[float | None]]:
        """The predictions of one request's rows, and a score of each, where it has one."""
        [outcome] = self._runner.run(self._model.answers([payload]))
        if isinstance(outcome, ModelError):
            raise does_not_answer(names, outcome.message, self._where)
        status, _, first, second, _ = outcome
        if status != OK:
            raise does_not_answer(names, first.decode("utf-8", "replace"), self._where)
        predictions: list[Any] = msgspec.json.decode(first)
        if not second:
            return predictions, [None] * len(predictions)
        return predictions, scores_of(first, second, self.classes)


def _payloads(
    names: Sequence[str], rows: Mapping[str, Sequence[Any]], *, by_name: bool
) -> Iterator[bytes]:
    """The rows as requests have them, by name or in order."""
    listed = list(zip(*(rows[name] for name in names), strict=True))
    for start in range(0, len(listed), _ROWS):
        some = listed[start : start + _ROWS]
        sent = [dict(zip(names, row, strict=True)) for row in some] if by_name else some
        yield msgspec.json.encode(sent)
