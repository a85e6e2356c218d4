"""The bill of materials says what an installation of the wheel brings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from building import EPOCH, ROOT
from packaging.requirements import Requirement

from gateway import __version__

#: By the tool's own interpreter: is it what the standard says, strictly?
VALID = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()) or "valid")
"""


@pytest.mark.needs("cyclonedx-py")
@pytest.mark.needs("pyproject-build")
@pytest.mark.timeout(3000)
def test_it_names_the_gateway_and_all_that_it_needs_and_is_valid(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    output = tmp_path / "sbom.json"
    command: list[str | Path] = [sys.executable, ROOT / "deploy" / "sbom.py", built[0], output]
    subprocess.run(command, env={**os.environ, **EPOCH}, check=True, capture_output=True)

    found = json.loads(output.read_text())
    component = found["metadata"]["component"]
    assert component["name"] == "branch-gateway"
    assert component["version"] == __version__
    assert component["licenses"][0]["license"]["id"] == "MIT"
    parts = {one["name"].lower().replace("_", "-"): one["version"] for one in found["components"]}
    assert all(parts.values())
    assert needed() <= set(parts)
    assert not {"pip", "pytest", "branch-gateway"} & set(parts)

    tool = shutil.which("cyclonedx-py")
    assert tool is not None
    python = Path(tool).parent / "python"
    said = subprocess.run([python, "-c", VALID, output], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "valid"


def needed() -> set[str]:
    """What pyproject.toml asks for here, without the extras."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert listed is not None
    wanted = [Requirement(one) for one in re.findall(r'"(.+)"', listed[1])]
    return {
        one.name.lower().replace("_", "-")
        for one in wanted
        if one.marker is None or one.marker.evaluate()
    }
