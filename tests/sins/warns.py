"""Logs and warns, always the same and always something new."""

import logging
import warnings


def predict(model, instances):
    logging.getLogger("churn").info("never seen")
    for row in instances:
        logging.getLogger("churn").error("cannot look up %s", row[0])
        logging.getLogger("churn").error("always this")
    warnings.warn("getting old", stacklevel=1)
    return [row[0] for row in instances]
