"""The model behind LitServe: `python litserve_app.py PORT WORKERS BATCH QUEUE`."""

from __future__ import annotations

import os
import sys
from typing import Any

import joblib
import litserve
import numpy as np


class Classifier(litserve.LitAPI):
    """Answers the probabilities of the classes."""

    def setup(self, device: str) -> None:
        self.model = joblib.load(os.environ["BENCH_MODEL"])

    # No type on `request`: LitServe reads it at run time, and takes a text for a query parameter.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return np.asarray(request["instances"], dtype=np.float64)

    def predict(self, rows: Any) -> Any:
        return self.model.predict_proba(rows)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"probabilities": output.tolist()}


class Batching(Classifier):
    """The same, of the rows of several requests in one call."""

    def batch(self, inputs: list[Any]) -> Any:
        self.sizes = [len(rows) for rows in inputs]
        return np.concatenate(inputs)

    def unbatch(self, output: Any) -> Any:
        return np.split(output, np.cumsum(self.sizes)[:-1])


if __name__ == "__main__":
    port, workers, batch = (int(text) for text in sys.argv[1:4])
    many = Batching(max_batch_size=batch, batch_timeout=0.002) if batch > 1 else None
    litserve.LitServer(
        many or Classifier(),
        accelerator="cpu",
        workers_per_device=workers,
        fast_queue=sys.argv[4] == "zmq",
    ).run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)
