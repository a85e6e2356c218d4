"""Lock files that a dead git process left in a cache, which is one `Git`'s alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

#: What git says when one is in its way.
LOCKED = re.compile(r"Unable to create '([^']+\.lock)'")


def remove_locks(cache: Path, words: str) -> bool:
    """Remove the locks below `cache` that git's words name; whether there were any."""
    removed = False
    for name in LOCKED.findall(words):
        lock = Path(os.path.realpath(name))
        if lock.is_relative_to(os.path.realpath(cache)):
            lock.unlink(missing_ok=True)
            removed = True
    return removed
