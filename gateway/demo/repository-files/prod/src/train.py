"""Fit the model of this branch on data/train.csv and measure it on data/test.csv.

Writes models/model.joblib, and metrics/reference.json, model.json and golden.json; the same data
and versions give the same files.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from estimator import build
from sklearn.metrics import roc_auc_score

from gateway.profiling import write_profile

ROOT = Path(__file__).resolve().parent.parent
TARGET = "diagnosis"
POSITIVE = "malignant"
GOLDEN_ROWS = 5


def read(name: str) -> tuple[pd.DataFrame, pd.Series[str]]:
    table = pd.read_csv(ROOT / "data" / name)
    return table.drop(columns=TARGET), table[TARGET]


def write(name: str, content: dict[str, Any]) -> None:
    path = ROOT / "metrics" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    model = build()
    table, labels = read("train.csv")
    model.fit(table, labels)
    (ROOT / "models").mkdir(exist_ok=True)
    joblib.dump(model, ROOT / "models" / "model.joblib", compress=3)
    data = ROOT / "data" / "train.csv"
    write_profile(ROOT / "metrics" / "reference.json", table, model=model, data=data)

    instances, truth = read("test.csv")
    score = model.predict_proba(instances)[:, list(model.classes_).index(POSITIVE)]
    write(
        "model.json",
        {
            "accuracy": round(float(model.score(instances, truth)), 4),
            "roc_auc": round(float(roc_auc_score(truth == POSITIVE, score)), 4),
            "n": len(truth),
            "trained_with": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("numpy", "pandas", "scikit-learn")},
            },
        },
    )
    golden = instances.head(GOLDEN_ROWS)
    write(
        "golden.json",
        {
            "instances": golden.to_dict(orient="records"),
            "predictions": model.predict(golden).tolist(),
            "tolerance": 1e-9,
        },
    )


if __name__ == "__main__":
    main()
