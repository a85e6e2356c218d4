"""What is arranged before any byte of a branch runs: descriptors, signals, import paths."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_PR_SET_PDEATHSIG = 1
_HOUSE = Path(__file__).resolve().parents[3]


def isolate() -> None:
    """Nothing branch code prints, and no key pressed at the front, reaches the gateway."""
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # Without it a kill -9 of the front would leave workers that compute to their next read.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def open_source(source: Path) -> None:
    """Put the branch's `src/` first on the import path and ours out of reach."""
    installed = _HOUSE.name in ("site-packages", "dist-packages")
    if not installed:
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _HOUSE]
    sys.meta_path.insert(0, _NotOurs())
    if source.is_dir():
        sys.path.insert(0, str(source))
        sys.dont_write_bytecode = True


class _NotOurs(MetaPathFinder):
    """Hides the gateway's own package, which may be installed in this environment."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != "gateway":
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or spec.origin is None or Path(spec.origin).parent != _HOUSE / "gateway":
            return None
        raise ModuleNotFoundError("No module named 'gateway'", name="gateway")
