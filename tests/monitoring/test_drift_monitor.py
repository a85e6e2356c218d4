"""Drift by the monitor as a real process: in the pushed rows, once, whatever happens to it."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chunkfiles import FINGERPRINT
from driftchunks import Traffic, bring_reference, profile
from gitrepo import Remote
from monitorprocess import MonitorProcess, pushed_rows
from waiting import wait_until

from gateway.monitoring.segments import DRIFT_COLUMNS

Start = Callable[..., MonitorProcess]
HOUR = 3600


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Start]:
    made: list[MonitorProcess] = []

    def make(remote: Remote, *branches: str, name: str = "state", **more: Any) -> MonitorProcess:
        for branch in branches:
            remote.commit(branch, {"README": branch})
        made.append(MonitorProcess(tmp_path / name, remote, list(branches), **more))
        return made[-1]

    yield make
    for one in made:
        one.kill()
        print(one.words() if (one.state / "words").exists() else "")  # noqa: T201


def drift_rows(remote: Remote) -> list[dict[str, str]]:
    """Every pushed drift row."""
    return [
        dict(zip(DRIFT_COLUMNS, row, strict=True))
        for row in csv.reader(pushed_rows(remote, "drift"))
    ]


def settled(process: MonitorProcess, rows: int) -> None:
    """All chunks are in git, all rows in windows, and what came of them is in git too."""

    def done() -> bool:
        drift = process.status().get("drift", {})
        return (
            not process.waiting()
            and sum(drift.get("rows", {}).values()) == rows
            and drift["lag_rows"] == 0
        )

    wait_until(done, describe=process.words)
    assert process.finish() == 0


def test_a_shifted_column_is_flagged_in_the_pushed_rows_and_no_other(
    monitor: Start, remote: Remote
) -> None:
    process = monitor(remote, "prod")
    bring_reference(process.state, profile())
    traffic = Traffic(process.journal)
    for hour in range(3):
        traffic.chunk(hour * HOUR, 1200, shift={"prod": [0.0, 0.45]})
    process.start()
    settled(process, 3600)
    rows = drift_rows(remote)
    found = [(row["window_start"][11:13], row["column"], row["severity"]) for row in rows]
    assert found == [
        *[("10", "age", "ok"), ("10", "income", "warn")],
        *[("11", "age", "ok"), ("11", "income", "alert")],
        *[("12", "age", "ok"), ("12", "income", "alert")],
    ], "an alert is asked for twice in a row"
    assert {row["reason"] for row in rows if row["severity"] != "ok"} == {"distribution"}
    assert {row["n"] for row in rows} == {"1200"}
    assert [row.split(",")[3] for row in pushed_rows(remote, "decisions")] == ["drift", "drift"]
    assert "warn became alert" in pushed_rows(remote, "decisions")[1]


def test_killed_at_any_moment_it_closes_the_same_windows_each_once(
    monitor: Start, tmp_path: Path
) -> None:
    """Two runs over the same chunks: one undisturbed, one killed a dozen times."""
    found = []
    for name in ("calm", "killed"):
        remote = Remote(tmp_path / f"{name}.git")
        process = monitor(remote, "prod", "dev", name=name, drift={"min_rows": 100})
        bring_reference(process.state, profile())
        traffic = Traffic(process.journal)
        written = [_written(traffic, 0)]
        rng = random.Random(3)
        for chunk in range(12):
            # As the front does it: the next one is open before anybody could miss its rows.
            written.append(_written(traffic, chunk + 1))
            written[chunk].rename(written[chunk].with_suffix(".jsonl"))
            if name == "killed":
                _killed_soon(process, rng)
        written[-1].unlink()
        process.start()
        settled(process, 12 * 240)
        found.append(drift_rows(remote))
    calm, killed = found
    keys = [(row["window_start"], row["branch"], row["column"]) for row in killed]
    assert len(keys) == len(set(keys))
    assert sorted(killed, key=str) == sorted(calm, key=str)
    assert len(calm) > 30


def _written(traffic: Traffic, chunk: int) -> Path:
    shift = {"prod": [0.0, 0.3 * (chunk > 6)], "dev": [0.0, 0.0]}
    start = chunk * 2400
    return traffic.chunk(
        start, 240, over=2400, branches=("prod", "dev"), shift=shift, suffix=".open"
    )


def _killed_soon(process: MonitorProcess, rng: random.Random) -> None:
    """Right behind one of its transactions, whichever that is, or when it has done all."""
    log = process.state / "store.sqlite-wal"
    process.start()
    process.look()
    size = log.stat().st_size if log.exists() else 0

    def moved(before: int) -> bool:
        return (log.exists() and log.stat().st_size != before) or not process.waiting()

    for _ in range(rng.randint(1, 4)):
        wait_until(partial(moved, size), describe=process.words)
        size = log.stat().st_size
    process.kill()


def test_an_open_chunk_with_rows_of_a_window_holds_it_open(monitor: Start, remote: Remote) -> None:
    process = monitor(remote, "prod")
    bring_reference(process.state, profile())
    traffic = Traffic(process.journal)
    traffic.chunk(0, 300)
    opened = traffic.chunk(900, 300, suffix=".open")
    process.start()

    def taken() -> bool:
        return bool(process.status().get("drift", {}).get("rows") == {"prod": 300})

    wait_until(taken, describe=process.words)
    wait_until(lambda: not process.waiting(), describe=process.words)
    report = json.loads((process.state / "drift" / "prod.json").read_text())
    assert (report["state"], report["open"]["rows"]) == ("counting", 300)
    opened.rename(opened.with_suffix(".jsonl"))
    process.look()
    settled(process, 600)
    assert {row["n"] for row in drift_rows(remote)} == {"600"}


def test_what_has_no_reference_is_compared_with_its_first_rows_and_never_alarms(
    monitor: Start, remote: Remote
) -> None:
    process = monitor(remote, "prod")
    bring_reference(process.state, None)
    traffic = Traffic(process.journal)
    traffic.chunk(0, 3000)
    process.start()
    wait_until(lambda: not process.waiting(), describe=process.words)
    report = json.loads((process.state / "drift" / "prod.json").read_text())
    assert report["state"] == "collecting"
    assert report["collected"] == {"rows": 3000, "of": 5000}
    process.kill()
    traffic.chunk(HOUR, 3000)
    traffic.chunk(2 * HOUR, 500, shift={"prod": [0.0, 3.0]})
    traffic.chunk(3 * HOUR, 500, shift={"prod": [0.0, 3.0]})
    process.start()
    settled(process, 7000)
    rows = drift_rows(remote)
    assert [row["n"] for row in rows if row["column"] == "age"] == ["1000", "500", "500"]
    severities = {(row["column"], row["severity"]) for row in rows}
    assert ("income", "warn") in severities
    assert {severity for _, severity in severities} == {"ok", "warn"}
    assert {row["column"] for row in rows} == {
        *("age", "income", "__prediction__", "__score__", "__latency_ms__")
    }
    report = json.loads((process.state / "drift" / "prod.json").read_text())
    assert report["reference"]["live"]
    assert report["reference"]["source"]["type"] == "live"
    assert {row["n_ref"] for row in rows} == {"5000"}


def test_branches_are_compared_with_each_other_and_a_broken_split_is_called_one(
    monitor: Start, remote: Remote
) -> None:
    process = monitor(remote, "prod", "dev")
    bring_reference(process.state, profile())
    traffic = Traffic(process.journal)
    for hour in range(2):
        shift = {"prod": [0.0, 0.0], "dev": [0.0, 0.45]}
        traffic.chunk(hour * HOUR, 2400, branches=("prod", "dev"), shift=shift)
    process.start()
    settled(process, 4800)
    rows = [row for row in drift_rows(remote) if row["column"].startswith("vs:")]
    assert {row["branch"] for row in rows} == {"dev"}
    assert [(row["column"], row["severity"]) for row in rows if row["severity"] != "ok"] == [
        *[("vs:prod:income", "warn"), ("vs:prod:income", "alert")]
    ]
    assert rows[-1]["reason"] == "split;distribution"
    assert rows[-1]["reference_id"].startswith("branch:prod:")
    decisions = [row for row in pushed_rows(remote, "decisions") if "split is broken" in row]
    assert len(decisions) == 2
    report = json.loads((process.state / "drift" / "dev.json").read_text())
    assert (report["between"]["with"], report["between"]["severity"]) == ("prod", "alert")


def test_rows_of_another_content_are_another_window(monitor: Start, remote: Remote) -> None:
    process = monitor(remote, "prod")
    bring_reference(process.state, profile())
    other = "0" * 32
    bring_reference(
        process.state, profile({"age": ["a", "b"] * 50, "income": [1.0, 2.0] * 50}), other
    )
    traffic = Traffic(process.journal)
    traffic.chunk(0, 300)
    fields = {"fingerprint": other, "instances": [["a", 1.0]]}
    traffic.chunk(900, 300, fields=fields)
    process.start()
    settled(process, 600)
    kinds = {(row["column"], row["kind"], row["n"]) for row in drift_rows(remote)}
    assert kinds == {
        *[("age", "numeric", "300"), ("income", "numeric", "300")],
        *[("age", "categorical", "300"), ("income", "discrete", "300")],
    }
    report = json.loads((process.state / "drift" / "prod.json").read_text())
    assert report["fingerprint"] == other


def test_nothing_goes_to_git_under_target_none_and_the_report_is_there(
    monitor: Start, remote: Remote
) -> None:
    process = monitor(remote, "prod", target="none")
    bring_reference(process.state, profile())
    Traffic(process.journal).chunk(0, 300, target="none")
    process.start()
    path = process.state / "drift" / "prod.json"
    wait_until(
        lambda: path.exists() and json.loads(path.read_text())["state"] == "measured",
        describe=process.words,
    )
    assert process.finish() == 0
    assert drift_rows(remote) == []
    assert json.loads(path.read_text())["fingerprint"] == FINGERPRINT
