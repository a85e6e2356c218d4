"""Leaves a module where every other branch's imports look, and bends its own importlib."""

import importlib
import sys
from importlib import machinery
from pathlib import Path


def predict(model, instances):
    machinery.PathFinder.find_spec = importlib.import_module = None
    sys.meta_path.clear()
    folder = next(Path(path) for path in reversed(sys.path) if path.endswith("site-packages"))
    target = folder / "hostile_branch_was_here.py"
    target.write_text("raise SystemExit\n")
    return ["written" for _ in instances]
