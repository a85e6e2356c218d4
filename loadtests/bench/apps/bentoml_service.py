"""The model as a BentoML service; BENCH_WORKERS and BENCH_BATCH (rows, 0 for none) set it."""

from __future__ import annotations

import os
from typing import Annotated

import bentoml
import joblib
import numpy as np
from bentoml.validators import DType

BATCH = int(os.environ["BENCH_BATCH"])
BATCHING = (
    {"batchable": True, "batch_dim": 0, "max_batch_size": BATCH, "max_latency_ms": 1000}
    if BATCH
    else {}
)
Rows = Annotated[np.ndarray, DType("float64")]


@bentoml.service(
    workers=int(os.environ["BENCH_WORKERS"]),
    traffic={"timeout": 30, "max_concurrency": 1024},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Classifier:
    """Answers the probabilities of the classes."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["BENCH_MODEL"])

    @bentoml.api(**BATCHING)
    def predict(self, rows: Rows) -> Rows:
        return self.model.predict_proba(rows)
