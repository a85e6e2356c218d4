"""Answers when the file that is named in the row appears; says that it has begun."""

import pathlib
import time


def predict(model, instances):
    for row in instances:
        if isinstance(row[0], str):
            gate = pathlib.Path(row[0])
            gate.with_suffix(".begun").touch()
            while not gate.exists():
                time.sleep(0.002)
    return [0 for _ in instances]
