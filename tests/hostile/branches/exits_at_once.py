"""Ends its process without a word."""

import os


def predict(model, instances):
    os._exit(0)
