"""Ends the gateway."""

import os
import signal


def predict(model, instances):
    os.kill(os.getppid(), signal.SIGKILL)
    return ["killed" for _ in instances]
