"""The package as a release builds it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: A time of the sources, with which all bytes are the same.
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel, which is made from the sdist, and the sdist."""
    subprocess.run(
        ["pyproject-build", "--outdir", folder, ROOT],
        env={**os.environ, **EPOCH},
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))
