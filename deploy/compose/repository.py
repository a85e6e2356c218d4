"""Makes the demonstration's repository once, and serves it for reading and pushing.

Anybody who reaches the port may push: for a demonstration on one machine, and nothing else.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gateway.demo import build_repository


def serve(folder: Path, address: str, port: int) -> None:
    """Never returns: git takes this process' place."""
    build_repository(folder)
    os.execvp(  # noqa: S606 - no shell is wanted
        "git",
        [
            "git",
            "daemon",
            f"--listen={address}",
            f"--port={port}",
            f"--base-path={folder}",
            "--export-all",
            "--enable=receive-pack",
            "--reuseaddr",
            "--log-destination=stderr",
        ],
    )


if __name__ == "__main__":
    serve(Path(sys.argv[1]).absolute(), sys.argv[2], int(sys.argv[3]))
