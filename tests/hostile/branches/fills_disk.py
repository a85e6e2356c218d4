"""Writes until there is no room, in files that each are small."""

import tempfile
from pathlib import Path


def predict(model, instances):
    number = 0
    while True:
        number += 1
        (Path(tempfile.gettempdir()) / str(number)).write_bytes(bytes(1024**2))
