"""Answers what JSON has no words for."""


def predict(model, instances):
    values = [float("nan"), float("inf"), -float("inf"), 1.5]
    return {"predictions": values[: len(instances)], "probabilities": [[v] for v in values]}
