"""The machine that a load was run on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from loadtests.bench.records import Machine


def machine() -> Machine:
    return Machine(
        processor=_first("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        wrk=_wrk(),
        load_before=round(os.getloadavg()[0], 2),
    )


def _first(file: str, name: str) -> str | None:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _wrk() -> str:
    """Its version; nothing where it is not installed."""
    if shutil.which("wrk") is None:
        return ""
    # It has no option for its version alone: asked for it, it exits as for a mistake.
    said = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    return next(iter((said.stdout + said.stderr).splitlines()), "").split(" [")[0]
