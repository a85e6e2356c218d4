"""A tiny model without a sin: sums each row."""

ROW_WISE = True


def predict(model, instances):
    return [sum(row) for row in instances]
