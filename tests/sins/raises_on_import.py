"""Needs a module that is not there."""

import no_such_module_of_ours  # noqa: F401


def predict(model, instances):
    return instances
