"""A mounted folder for tests: one sub-folder a branch, written to as people and programs do."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest


class Mounted:
    """The folder at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        """What gateway.yaml calls it."""
        return f"folder://{self.path}"

    def write(self, branch: str, files: Mapping[str, bytes | str | None]) -> Path:
        """Write these files (None deletes) into the branch's sub-folder, which is returned."""
        root = self.path / branch
        root.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            target = root / name
            if content is None:
                target.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    def files(self, under: str = "") -> list[str]:
        """Every path below the folder, hidden ones too, that begins with `under`."""
        found = (p for p in self.path.rglob("*") if not p.is_dir())
        paths = (str(path.relative_to(self.path)) for path in found)
        return sorted(path for path in paths if path.startswith(under))

    def rows(self, branch: str, place: str | None = None) -> list[dict[str, str]]:
        """Every row of the branch's prediction segments, below the sub-folder `place`."""
        below = f"{place or branch}/monitoring/predictions/{branch.replace('/', '~')}/"
        rows: list[dict[str, str]] = []
        # As any reader does: a hidden name is a segment that has not appeared yet.
        for path in (path for path in self.files(below) if path.endswith(".csv")):
            rows += csv.DictReader(io.StringIO((self.path / path).read_text()))
        return rows


@contextmanager
def mounted(target: Path, *arguments: str) -> Iterator[None]:
    """`mount ARGUMENTS target`, undone at the end.

    Where that is not allowed a test is skipped, but fails under CI, as with a missing tool.
    """
    done = subprocess.run(["mount", *arguments, str(target)], capture_output=True, check=False)
    if done.returncode != 0:
        text = f"mounting is not allowed here: {done.stderr.decode().strip()}"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True)


def remount(target: Path, options: str) -> None:
    """Change the options of what is mounted there."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(target)], check=True)
