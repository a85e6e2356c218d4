"""A release is a wheel and an sdist, which hold what they must and run where nothing else is."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import httpx
import pytest
from building import ROOT, build
from waiting import wait_until

from gateway import __version__

#: What of the package is no code.
BESIDES = {
    "gateway/demo/gateway.yaml",
    "gateway/demo/guide.txt",
    "gateway/demo/repository-files/prod/README.md",
    "gateway/py.typed",
    "gateway/reporting/templates/report.css",
    "gateway/reporting/templates/report.html",
    "gateway/repositories/askpass.sh",
}
pytestmark = [pytest.mark.needs("pyproject-build"), pytest.mark.timeout(3000)]


def tracked(folder: str) -> set[str]:
    """The files of a folder that are in git, and so no leftovers of anything."""
    # Whoever the checkout belongs to.
    trusting = ["git", "-c", "safe.directory=*"]
    command = [*trusting, "ls-files", "--cached", "--others", "--exclude-standard", folder]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {line for line in said.splitlines() if (ROOT / line).exists()}


def test_they_are_of_this_version_and_the_same_bytes_whenever_they_are_made(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    assert [path.name for path in built] == [
        f"branch_gateway-{__version__}-py3-none-any.whl",
        f"branch_gateway-{__version__}.tar.gz",
    ]
    again = build(tmp_path)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in built]


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        entries = {entry.filename: entry for entry in wheel.infolist()}
    held = {name for name in entries if ".dist-info/" not in name}
    assert held == tracked("gateway") - {"gateway/README.md"}
    assert held >= BESIDES
    assert entries["gateway/repositories/askpass.sh"].external_attr >> 16 & 0o111
    metadata = {name.partition(".dist-info/")[2] for name in entries if ".dist-info/" in name}
    assert metadata == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"),
    }


def test_the_sdist_holds_what_the_wheel_is_made_of(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
    besides = {"CHANGELOG.md", "LICENSE", "README.md", "PKG-INFO", "pyproject.toml", ".gitignore"}
    assert set(members) == tracked("gateway") | besides
    assert members["gateway/repositories/askpass.sh"].mode & 0o111


@pytest.fixture(params=["wheel", "sdist"])
def installed(request: pytest.FixtureRequest, built: tuple[Path, Path], tmp_path: Path) -> Path:
    """The programs of an environment that holds the package and what it asks for."""
    package = dict(zip(("wheel", "sdist"), built, strict=True))[request.param]
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    # A pip that is quick and knows --python; what it installs is what any would.
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
            *("--constraint", ROOT / "constraints.txt", f"{package}[pandas]"),
        ],
        check=True,
        capture_output=True,
    )
    return python.parent


def test_installed_where_nothing_else_is_it_demonstrates_itself(
    installed: Path, tmp_path: Path
) -> None:
    gateway = installed / "gateway"
    alone = {"PATH": f"{installed}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)}

    def said(*words: str) -> str:
        done = subprocess.run(
            [gateway, *words], cwd=tmp_path, env=alone, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert said("--version") == f"gateway, version {__version__}\n"
    log = tmp_path / "demo.txt"
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [gateway, "demo", "--port", "0", "--folder", "demo"],
            cwd=tmp_path,
            env=alone,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(
            lambda: "Ctrl-C stops" in log.read_text() or demo.poll() is not None,
            400.0,
            log.read_text,
        )
        address = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        assert address is not None, log.read_text()
        row = (tmp_path / "demo" / "request.json").read_bytes()
        answer = httpx.post(f"{address[0]}/predict", content=row, timeout=30).json()
        assert answer["branch"]
        assert re.fullmatch(r"[0-9a-f]{40}", answer["commit"])
        assert "is right" in said("check", "demo/gateway.yaml")
    finally:
        demo.terminate()
        demo.wait(120)
