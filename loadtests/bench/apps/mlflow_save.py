"""Save a model in MLflow's form: `python mlflow_save.py MODEL FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import mlflow.sklearn

if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    if not (target / "MLmodel").exists():
        mlflow.sklearn.save_model(
            joblib.load(source),
            target,
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
        )
