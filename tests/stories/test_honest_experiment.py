"""Two branches, 20,000 users who come back, a ramp, a fix merged mid-way, kills: and the truth.

What the gateway reads out at the end equals what `experiment_recomputed` makes of the log of those
who lived it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import experiment_recomputed as recomputed
import pytest
from experiment_world import WINDOW, World, visits
from gitrepo import Remote
from running import Gateway, recorded
from waiting import wait_until

USERS, PLANNED = 20_000, 10_000
SERVE = """
ROW_WISE = True
def load(root):
    return {edge}
def predict(model, instances):
    return [int(row[0] > model) for row in instances]
"""
METRICS = {
    "conversion": {"role": "primary", "kind": "binary", "window": f"{WINDOW:g}s"},
    "accuracy": {"kind": "ratio", "missing": "unknown", "window": f"{WINDOW:g}s"},
    "spent": {"kind": "mean", "window": f"{WINDOW:g}s"},
}


def serve(edge: float) -> dict[str, str]:
    return {"src/serve.py": SERVE.format(edge=edge)}


async def live(gateway: Gateway, remote: Remote, log: Path) -> World:
    """The story. Every step of it stands in the log."""
    with log.open("w") as written:
        world = World(gateway, written, seed=11)
        await happens(world, remote)
    return world


async def happens(world: World, remote: Remote) -> None:
    gateway = world.gateway
    todo = visits(random.Random(12), USERS)
    quarter = len(todo) // 4
    parts = [todo[k * quarter : (k + 1) * quarter] for k in range(3)] + [todo[3 * quarter :]]
    # Not the tips: the gateway may have committed rows by now.
    commits = {name: str(gateway.serving(name)) for name in ("prod", "exp")}

    async def weights(prod: int, exp: int) -> None:
        branches = {"prod": {"weight": prod}, "exp": {"weight": exp}}
        gateway.write(branches=branches)
        await world.in_force({"prod": prod, "exp": exp}, commits)

    async def kill_monitor() -> None:
        pid = int(gateway.get("/branches").json()["recording"]["monitor_pid"])
        os.kill(pid, signal.SIGKILL)
        world.note("killed", who="monitor")

    async with asyncio.TaskGroup() as group:
        telling = group.create_task(world.tell())
        await weights(90, 10)
        await world.live(parts[0])
        await weights(75, 25)
        await world.live(parts[1], kill_monitor)
        commits["exp"] = await asyncio.to_thread(remote.commit, "exp", serve(0.49), "fix the edge")
        await weights(75, 25)
        await world.live(parts[2], world.kill_front)
        await weights(50, 50)
        await world.live(parts[3], kill_monitor)
        await world.all_told()
        telling.cancel()


def read_out(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = gateway.get("/experiment").json()
    return found


def mature(gateway: Gateway, contrasts: list[recomputed.Contrast]) -> dict[str, Any] | None:
    """The read-out, once it has read all there is and all of it counts."""
    document = read_out(gateway)
    shown = {found["candidate_fingerprint"]: found for found in document["contrasts"]}
    for one in contrasts:
        found = shown.get(one.fingerprints[1])
        looks = len(one.exposure.units)
        if found is None or any(m["pending_units"] for m in found["metrics"]):
            return None
        metrics = {metric["name"]: metric for metric in found["metrics"]}
        if metrics["conversion"]["looks"] < looks:
            return None
        # Those that come after their time are added when they come.
        for name in recomputed.METRICS:
            if metrics[name]["late"] < one.late[name]:
                return None
    return document


def near(value: float | None) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def check_contrast(found: dict[str, Any], one: recomputed.Contrast) -> None:
    assert (found["baseline_fingerprint"], found["candidate_fingerprint"]) == one.fingerprints
    units = one.exposure.units[-1].astype(int).tolist()
    # Two that begin in one span of time may stand in any order.
    shown = {
        e["epoch"]: (e["share"], e["baseline_units"], e["candidate_units"]) for e in found["epochs"]
    }
    assert shown == {
        epoch: (near(share), *arms)
        for epoch, share, arms in zip(one.epochs, one.shares, units, strict=True)
    }
    # Near 0 it is the difference of logarithms of 10^5, each of which is rounded to 10^-11.
    assert found["sample_ratio"]["log_e"] == pytest.approx(one.split_log_e(), rel=1e-9, abs=1e-10)
    assert not found["sample_ratio"]["mismatch"]
    metrics = {metric["name"]: metric for metric in found["metrics"]}
    for name in recomputed.METRICS:
        check_metric(metrics[name], one, name)


def check_metric(shown: dict[str, Any], one: recomputed.Contrast, name: str) -> None:
    arms = [shown["baseline"], shown["candidate"]]
    grown = one.metrics[name]
    of_units = grown if name == "accuracy" else one.exposure
    assert (shown["late"], shown["duplicate"]) == (one.late[name], one.duplicates[name])
    assert [arm["outcomes"] for arm in arms] == grown.outcomes.tolist()
    assert [arm["events"] for arm in arms] == grown.new[-1].sum(axis=0).tolist()
    assert [arm["units"] for arm in arms] == of_units.new[-1].sum(axis=0).tolist()
    mean = one.mean(name, PLANNED)
    assert [arm["value"] for arm in arms] == [near(mean["baseline"]), near(mean["candidate"])]
    difference = shown["difference"]
    assert [difference[key] for key in ("estimate", "low", "high")] == [
        near(mean[key]) for key in ("difference", "low", "high")
    ]
    relative = [shown["relative"][key] for key in ("estimate", "low", "high")]
    if name == "conversion":
        rates = one.rates(name)
        assert relative == [
            pytest.approx(rates[key] - 1, abs=1e-8) for key in ("ratio", "low", "high")
        ]
        assert shown["log_e"] == near(rates["largest_log_e"])
    else:
        assert relative == [near(mean[key]) for key in ("lift", "lift_low", "lift_high")]
        assert shown["log_e"] == near(mean["largest_log_e"])


@pytest.mark.timeout(900)
def test_the_read_out_is_the_truth_of_those_who_lived_it(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve(0.5))
    remote.commit("exp", serve(0.45), start="prod")
    gateway = Gateway(
        tmp_path / "g",
        remote,
        {"prod": {"weight": 90}, "exp": {"weight": 10}},
        metrics=METRICS,
        exclude={"User-Agent": ["*robot*"]},
        monitoring={"flush": "2s"},
    )
    gateways.append(gateway)
    gateway.start()
    log = tmp_path / "world.jsonl"
    world = asyncio.run(live(gateway, remote, log))
    assert world.answered > USERS
    key = bytes.fromhex((tmp_path / "g" / ".gateway" / "unit.key").read_text())
    answers = [json.loads(line) for line in log.read_text().splitlines()]
    ids = {one["answer"]["request_id"] for one in answers if one["t"] == "asked"}

    def pushed() -> list[dict[str, str]] | None:
        rows = recorded(remote, "prod") + recorded(remote, "exp")
        return rows if ids <= {row["request_id"] for row in rows} else None

    rows = wait_until(pushed, 120.0, gateway.words)
    assert isinstance(rows, list)
    found = recomputed.told(log, key, rows, WINDOW)
    assert min(found.unknown, found.robots, found.nobodies) > 50
    assert min(len(found.late), len(found.duplicates)) > 500
    assert 0 < world.lost <= 16
    contrasts = recomputed.contrasts(found, WINDOW)
    assert len(contrasts) == 2
    document = wait_until(
        lambda: mature(gateway, contrasts), 120.0, lambda: json.dumps(read_out(gateway), indent=1)
    )
    assert isinstance(document, dict)
    (tmp_path / "experiment.json").write_text(json.dumps(document, indent=1))
    assert [epoch["epoch"] for epoch in found.epochs] == [
        recomputed.epoch_id(epoch) for epoch in found.epochs
    ]
    feedback = document["feedback"]
    assert feedback["late"] == len(found.late)
    assert feedback["duplicate"] == len(found.duplicates)
    assert feedback["unknown"] + feedback["waiting"] == found.unknown
    assert feedback["accepted"] == len(found.outcomes) - found.unknown
    shown = {one["candidate_fingerprint"]: one for one in document["contrasts"]}
    assert [shown[one.fingerprints[1]]["current"] for one in contrasts] == [False, True]
    for one in contrasts:
        check_contrast(shown[one.fingerprints[1]], one)
    check_the_rest(document, found, contrasts)
    wait_until(lambda: told_by_rows(remote) == read_out(gateway)["contrasts"], 120.0)


def check_the_rest(
    document: dict[str, Any], found: recomputed.Told, contrasts: list[recomputed.Contrast]
) -> None:
    """What is counted, and is no part of any estimate."""
    assert document["excluded"] == {"excluded": found.robots}
    without = [
        arm["requests"] for one in document["contrasts"] for arm in one["without_unit"].values()
    ]
    assert sum(without) == found.nobodies
    shown = {one["candidate_fingerprint"]: one for one in document["contrasts"]}
    for one in contrasts:
        assert shown[one.fingerprints[1]]["multiple_units"] == one.multiple


def told_by_rows(remote: Remote) -> list[dict[str, Any]]:
    """The contrasts, as they follow from what is in the repository alone."""
    command = [sys.executable, "-m", "gateway", "results", "--repository", remote.address, "--json"]
    done = subprocess.run(command, capture_output=True, check=True)
    told: list[dict[str, Any]] = json.loads(done.stdout)["contrasts"]
    return told
