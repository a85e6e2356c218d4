# ruff: noqa: T201
"""Prints ten thousand lines with each answer."""


def predict(model, instances):
    print("\n".join(str(number) for number in range(10_000)))
    return [row[0] for row in instances]
