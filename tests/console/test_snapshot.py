"""What the console shows each second stays small, however much there is to show."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from gateway.console.snapshot import MOST_BRANCHES, Snapshots
from gateway.metrics import Metrics
from gateway.names import Branch
from gateway.timeline import Timeline
from gateway.traffic import Traffic

LONG = "long words " * 500


def branch(name: str, **changes: Any) -> dict[str, Any]:
    usual = {
        "branch": name,
        "baseline": name == "prod",
        "weight": 1.0,
        "share": 0.01,
        "shadow": None,
        "allocation": None,
        "state": "failed",
        "reason": LONG,
        "serving": None,
        "model": {LONG: LONG, **{str(number): number for number in range(10_000)}},
        "monitoring": {"last_failure": {"ts": "", "reason": LONG}, "diverted": LONG},
    }
    return {**usual, **changes}


def snapshot(folder: Path, branches: list[dict[str, Any]]) -> dict[str, Any]:
    metrics, timeline = Metrics(), Timeline(folder)
    traffic = Traffic(metrics)
    for one in branches:
        metrics.branch(Branch(one["branch"]))
    for now in (1.0, 2.0):
        traffic.sample(traffic._read(), now)
    timeline.decided("prod", "c" * 40, "quarantined", LONG)

    async def page() -> dict[str, Any]:
        return {
            "baseline": "prod",
            "salt": "s",
            "epoch": "e" * 12,
            "recording": {"waiting": None},
            "branches": {one["branch"]: one for one in branches},
        }

    async def readout() -> None:
        return None

    made = Snapshots(
        page=page, readout=readout, traffic=traffic, timeline=timeline, closing=lambda: False
    )
    body = asyncio.run(made.encoded())
    assert b"\n" not in body
    assert len(body) < 250_000
    found: dict[str, Any] = json.loads(body)
    return found


def test_a_snapshot_of_many_branches_full_of_words_is_bounded(tmp_path: Path) -> None:
    found = snapshot(tmp_path, [branch("prod"), *(branch(f"exp/{n}") for n in range(150))])
    assert len(found["branches"]) == MOST_BRANCHES
    assert found["branches_left_out"] == 151 - MOST_BRANCHES
    assert len(found["health"]["sentences"]) == 8
    assert found["health"]["tone"] == "bad"


def test_the_baseline_stands_first_then_those_with_most_users_and_shadows_last(
    tmp_path: Path,
) -> None:
    branches = [
        branch("few", share=0.1),
        branch("shadow", share=0.0, shadow={"share": 1.0}),
        branch("prod", share=0.3),
        branch("most", share=0.6),
    ]
    found = snapshot(tmp_path, branches)
    assert [one["name"] for one in found["branches"]] == ["prod", "most", "few", "shadow"]
