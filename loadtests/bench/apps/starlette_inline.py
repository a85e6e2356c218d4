"""The same model inline in a Starlette application of one process: no queue, no other process."""

from __future__ import annotations

import os

import joblib
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

model = joblib.load(os.environ["BENCH_MODEL"])


async def predict(request: Request) -> JSONResponse:
    body = await request.json()
    probabilities = model.predict_proba(np.asarray(body["instances"], dtype=np.float64))
    labels = model.classes_[probabilities.argmax(axis=1)]
    return JSONResponse({"predictions": labels.tolist(), "probabilities": probabilities.tolist()})


app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
