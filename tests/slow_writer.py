"""A program that rewrites a folder piece by piece, as a copy over a slow network does.

    python slow_writer.py FOLDER CONTENT

Each file is truncated, gets one half, and after a while the other; then the next.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

_PAUSE = 0.06


def rewrite(folder: Path, content: bytes) -> None:
    half = len(content) // 2
    for path in sorted(folder.iterdir()):
        with path.open("wb", buffering=0) as file:
            for piece in (content[:half], content[half:]):
                file.write(piece)
                time.sleep(_PAUSE)


if __name__ == "__main__":
    rewrite(Path(sys.argv[1]), sys.argv[2].encode())
