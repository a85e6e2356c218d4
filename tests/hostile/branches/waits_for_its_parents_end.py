"""Wants to live on when the gateway is killed."""

import ctypes

SET_PARENT_DEATH_SIGNAL = 1


def predict(model, instances):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_PARENT_DEATH_SIGNAL, 0, 0, 0, 0) == 0:
        return ["lives on" for _ in instances]
    raise OSError(ctypes.get_errno(), "does not live on")
