"""Starts a program that would outlive its worker."""

import subprocess


def predict(model, instances):
    return [subprocess.Popen(["sleep", "600"], start_new_session=True).pid for _ in instances]
