"""Has modules of its own under the names of ours, and looks for ours."""

import importlib

import channel
import frames
import rows


def predict(model, instances):
    found = [channel.OWNER, frames.OWNER, rows.OWNER]
    for name in ("gateway", "life", "standard", "isolation"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            found.append(None)
        else:
            found.append(name)
    return [found for _ in instances]
