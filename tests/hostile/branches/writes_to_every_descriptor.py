"""Writes rubbish to descriptors 0 to 255: one of them may be the gateway's."""

import contextlib
import os


def predict(model, instances):
    for number in range(256):
        with contextlib.suppress(OSError):
            os.write(number, b"\xff" * 64)
    return ["written" for _ in instances]
