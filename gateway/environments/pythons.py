"""Which Python an environment is for, and what it calls itself and its platform."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gateway.environments.uv import BuildAway, NotBuilt, Uv

_SAY = """
import json, platform, sys, sysconfig
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": platform.python_version(),
    "platform": sysconfig.get_platform(),
    "libc": " ".join(platform.libc_ver()),
    "abi": sysconfig.get_config_var("SOABI") or "",
    "home": sys.base_prefix,
}))
"""
_OLDEST = (3, 9)
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter; two with equal `identity` can use the same environment."""

    path: str
    version: str
    identity: tuple[str, ...]

    @property
    def numbers(self) -> tuple[int, int]:
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)


def python_for(wanted: str, uv: Uv) -> Python:
    """The gateway's own where it fits the range, else one that uv finds here."""
    path = sys.executable
    if wanted:
        what = f"a Python of version {wanted}"
        path = uv.run("python", "find", "--no-project", wanted, what=what, seconds=_SECONDS).strip()
    python = _looked_at(path)
    if python.numbers < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise NotBuilt(f"a worker needs Python {oldest} or newer. Found: {python.version}")
    return python


def _looked_at(path: str) -> Python:
    command = [path, "-I", "-S", "-c", _SAY]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=True, cwd="/")
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildAway(f"{path} does not say which Python it is: {error}") from error
    said: dict[str, str] = json.loads(done.stdout)
    # Links on the way to it may be moved on; what it is decides.
    return Python(path, said["version"], (*said.values(), str(Path(path).resolve())))
