"""Evidently's verdict per column with its defaults, as JSON; runs in an environment of its own."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

CATEGORIES = ["plan"]


def main(reference: Path, window: Path) -> None:
    warnings.simplefilter("ignore")
    before, after = pd.read_csv(reference), pd.read_csv(window)
    numbers = [name for name in before if name not in CATEGORIES]
    kinds = DataDefinition(numerical_columns=numbers, categorical_columns=CATEGORIES)
    report = Report([DataDriftPreset()])
    said = report.run(Dataset.from_pandas(after, kinds), Dataset.from_pandas(before, kinds)).dict()
    found = {}
    for metric in said["metrics"]:
        config = metric["config"]
        if not config["type"].endswith(":ValueDrift"):
            continue
        value, threshold, method = float(metric["value"]), config["threshold"], config["method"]
        drifted = value < threshold if "p_value" in method else value >= threshold
        found[config["column"]] = {"statistic": f"{method} {value:.3g}", "share": float(drifted)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
