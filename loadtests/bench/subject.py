"""The gateway as a user would start it: a repository of two branches that hold the same model."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

from gateway.config import BranchConfig
from gateway.demo.repository import git

#: As in the README's example.
WEIGHTS = {"prod": 90, "ab-test-210323": 10}
#: Defaults of a user but for this: a bench answers more rows in a flush than 1 GiB holds, and rows
#: that were dropped would have cost nothing.
JOURNAL = "16GiB"


def accelerates() -> bool:
    """Whether this gateway has the setting `accelerate`."""
    return "accelerate" in BranchConfig.model_fields


def start_gateway(model: Path, scratch: Path, port: int, *, accelerate: str) -> Path:
    """gateway.yaml of a new repository and an empty state in `scratch`; JSON is YAML."""
    repository, work = scratch / "repository.git", scratch / "work"
    for old in (repository, work, scratch / "state"):
        shutil.rmtree(old, ignore_errors=True)
    (baseline, *others) = WEIGHTS
    (work / "models").mkdir(parents=True)
    git(scratch, "init", "--quiet", f"--initial-branch={baseline}", str(work))
    shutil.copyfile(model, work / "models" / "model.joblib")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", "The model of the benchmark")
    for branch in others:
        git(work, "branch", branch)
    git(scratch, "clone", "--quiet", "--bare", str(work), str(repository))
    branches: dict[str, dict[str, object]] = {
        name: {"weight": weight} for name, weight in WEIGHTS.items()
    }
    if accelerates():
        for settings in branches.values():
            settings["accelerate"] = accelerate
    config = {
        "repository": str(repository),
        "baseline": baseline,
        "branches": branches,
        "listen": f"127.0.0.1:{port}",
        "state_dir": "state",
        "monitoring": {"journal_bytes": JOURNAL},
    }
    file = scratch / "gateway.yaml"
    file.write_text(json.dumps(config, indent=1) + "\n")
    return file


def dropped_rows(port: int) -> float:
    """Rows that the gateway at the port did not record: a fast answer that cost too little."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("gateway_journal_dropped_rows_total")
    )
