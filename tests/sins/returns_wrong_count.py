"""Answers one too few, nothing at all, or what cannot be JSON."""


def predict(model, instances):
    kind = instances[0][0]
    if kind == "few":
        return instances[1:]
    if kind == "none":
        return None
    if kind == "text":
        return "x" * len(instances)
    if kind == "object":
        return [object() for _ in instances]
    return {"answers": instances}
