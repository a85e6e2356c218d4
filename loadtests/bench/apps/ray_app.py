"""The model as a Ray Serve deployment: `python ray_app.py PORT REPLICAS BATCH`; runs until told."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import joblib
import numpy as np
import ray
from ray import serve
from starlette.requests import Request

PORT, REPLICAS, BATCH = (int(text) for text in sys.argv[1:4])
MODEL = os.environ["BENCH_MODEL"]


@serve.deployment(
    num_replicas=REPLICAS, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.5}
)
class Classifier:
    """Answers the probabilities of the classes."""

    def __init__(self, path: str) -> None:
        self.model = joblib.load(path)

    @serve.batch(max_batch_size=max(BATCH, 1), batch_wait_timeout_s=0.002)
    async def many(self, rows: list[Any]) -> list[Any]:
        """The rows of several requests in one call."""
        probabilities = self.model.predict_proba(np.concatenate(rows))
        return np.split(probabilities, np.cumsum([len(part) for part in rows])[:-1])

    async def __call__(self, request: Request) -> dict[str, Any]:
        rows = np.asarray((await request.json())["instances"], dtype=np.float64)
        found = await self.many(rows) if BATCH else self.model.predict_proba(rows)
        return {"probabilities": found.tolist()}


if __name__ == "__main__":
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ray.init(
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=200 * 1024 * 1024,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    bound = Classifier.bind(MODEL)  # type: ignore[attr-defined]  # the decorator gives it
    serve.run(bound, route_prefix="/predict")
    ended.wait()
    serve.shutdown()
    ray.shutdown()
