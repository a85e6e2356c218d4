"""Raises, exits or recurses without end on marked rows."""

import sys

ROW_WISE = True


def predict(model, instances):
    for row in instances:
        if row[0] == "raise":
            raise RuntimeError(f"cannot use {row[1]}")
        if row[0] == "exit":
            sys.exit(7)
        if row[0] == "recurse":
            predict(model, instances)
    return [row[0] for row in instances]
