#!/usr/bin/env python3
"""Write the bill of materials of a wheel: what an empty environment holds once it is installed.

    sbom.py WHEEL OUTPUT          constraints.txt says the versions

CycloneDX 1.6 as JSON, by cyclonedx-py on the PATH; the same versions make the same bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(*words: str | Path) -> None:
    subprocess.run(words, check=True)


def main(wheel: Path, output: Path) -> None:
    name, version = wheel.name.split("-")[:2]
    with tempfile.TemporaryDirectory() as folder:
        # Without pip in it: what only installs is no part of what runs.
        environment = Path(folder) / "environment"
        venv.create(environment, with_pip=False)
        python = environment / "bin" / "python"
        install = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
        run(*install, "--constraint", ROOT / "constraints.txt", wheel)
        made = Path(folder) / "sbom.json"
        run(
            *("cyclonedx-py", "environment", python, "--pyproject", ROOT / "pyproject.toml"),
            *("--spec-version", "1.6", "--output-reproducible", "--of", "JSON"),
            *("--validate", "--output-file", made),
        )
        found = json.loads(made.read_text())
    # pyproject.toml leaves the version to gateway/__init__.py, where that tool does not look.
    component = found["metadata"]["component"]
    component["version"] = version
    component["purl"] = f"pkg:pypi/{name.replace('_', '-')}@{version}"
    output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
