"""Answers everything that is falsy."""

ANSWERS = [0, False, [], "", None, 0.0, {}]


def predict(model, instances):
    return [ANSWERS[row[0]] for row in instances]
