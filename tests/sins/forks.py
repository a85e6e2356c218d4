"""Forks a child that goes on as if it were the worker, and leaves another behind."""

import os
import subprocess

BEGUN = subprocess.Popen(["/bin/sleep", "600"])


def load(root):
    return BEGUN.pid


def predict(model, instances):
    if os.fork() == 0:
        return ["a stranger's answer"]
    return [model for _ in instances]
