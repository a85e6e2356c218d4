"""The application that most people write first: FastAPI, a pydantic model, a plain function."""

from __future__ import annotations

import os

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.environ["BENCH_MODEL"])


class Question(BaseModel):
    """Rows of features."""

    instances: list[list[float]]


class Answer(BaseModel):
    """A label and the classes' probabilities for each row."""

    predictions: list[int]
    probabilities: list[list[float]]


@app.post("/predict")
def predict(question: Question) -> Answer:
    probabilities = model.predict_proba(np.array(question.instances))
    labels = model.classes_[probabilities.argmax(axis=1)]
    return Answer(predictions=labels.tolist(), probabilities=probabilities.tolist())
