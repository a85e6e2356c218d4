"""Takes everybody's right to read a file: the instance says of which."""

from pathlib import Path


def predict(model, instances):
    for row in instances:
        Path(row[0]).chmod(0)
    return ["done" for _ in instances]
