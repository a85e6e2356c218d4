"""NannyML's verdict per column with its defaults, as JSON; runs in an environment of its own."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import pandas as pd

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # before it is imported: it would tell its makers

import nannyml

CATEGORIES = ["plan"]


def main(reference: Path, window: Path) -> None:
    warnings.simplefilter("ignore")
    before, after = pd.read_csv(reference), pd.read_csv(window)
    names = list(before)
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=names, treat_as_categorical=CATEGORIES
    )
    calculator.fit(before)
    table = calculator.calculate(after).filter(period="analysis").to_df()
    found = {}
    for name in names:
        of_chunks = table[name]["jensen_shannon"]
        found[name] = {
            "statistic": f"JS distance {of_chunks['value'].mean():.3g}, threshold"
            f" {of_chunks['upper_threshold'].iloc[0]:.3g}",
            "share": float(of_chunks["alert"].mean()),
        }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
