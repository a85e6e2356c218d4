"""Each server's own form of a request and of an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Row = Sequence[float]
Table = list[list[float]]


@dataclass(frozen=True)
class Form:
    """Where to ask, how rows become a body, and how a body becomes probabilities.

    `answer` is None for a server that computes nothing: its answers are not compared.
    """

    path: str
    body: Callable[[Sequence[Row]], Any]
    answer: Callable[[Any], Table] | None

    def encoded(self, rows: Sequence[Row]) -> bytes:
        return json.dumps(self.body(rows), separators=(",", ":")).encode()

    def probabilities(self, answer: bytes) -> Table | None:
        """Of each row; ValueError where the answer has another form."""
        if self.answer is None:
            return None
        try:
            return [[float(value) for value in row] for row in self.answer(json.loads(answer))]
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"an answer of another form ({error!r}): {answer[:200]!r}") from None


def _lists(rows: Sequence[Row]) -> Table:
    return [list(row) for row in rows]


def _of_tensor(answer: Any) -> Table:
    (output,) = (part for part in answer["outputs"] if part["name"] == "predict_proba")
    count, width = output["shape"]
    flat = output["data"]
    return [flat[row * width : (row + 1) * width] for row in range(count)]


INSTANCES = Form(
    "/predict",
    lambda rows: {"instances": _lists(rows)},
    lambda answer: answer["probabilities"],
)
ECHO = Form("/predict", INSTANCES.body, None)
OPEN_INFERENCE = Form(
    "/v2/models/model/infer",
    lambda rows: {
        "inputs": [
            {
                "name": "rows",
                "shape": [len(rows), len(rows[0])],
                "datatype": "FP64",
                "data": [value for row in rows for value in row],
            }
        ],
        "outputs": [{"name": "predict_proba"}],
    },
    _of_tensor,
)
BENTOML = Form("/predict", lambda rows: {"rows": _lists(rows)}, lambda answer: answer)
MLFLOW = Form(
    "/invocations", lambda rows: {"inputs": _lists(rows)}, lambda answer: answer["predictions"]
)
