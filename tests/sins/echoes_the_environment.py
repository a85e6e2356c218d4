# ruff: noqa: PTH109
"""Answers with its environment, its working directory and its signals."""

import os
import signal
import sys


def predict(model, instances):
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return [[dict(os.environ), os.getcwd(), ignored, sys.path] for _ in instances]
