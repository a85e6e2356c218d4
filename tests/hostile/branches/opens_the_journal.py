"""Reads what other branches answered to whom: the instance says in which file."""

from pathlib import Path


def predict(model, instances):
    return [len(Path(row[0]).read_text()) for row in instances]
