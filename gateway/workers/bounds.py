"""What a slot may hold at once, and how long things may take in it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one branch, as configured now; times are in seconds."""

    queue_rows: int = 1
    batch_rows: int = 1
    timeout: float = inf
    #: A worker that answers no frame for so long is killed.
    patience: float = inf
    #: Whether the baseline may answer in its place while it fails.
    ejectable: bool = True
