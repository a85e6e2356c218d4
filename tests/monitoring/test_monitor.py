"""The monitor as a real process: killed, cut off, refused, told to end."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chunkfiles import WRITER, decision, header, log_line, request, request_id, write
from gitrepo import Remote, git
from monitorprocess import MonitorProcess, pushed_rows
from waiting import wait_until

from gateway.monitoring.segments import PREDICTION_COLUMNS

Start = Callable[..., MonitorProcess]


@pytest.fixture
def monitor(tmp_path: Path, remote: Remote) -> Iterator[Start]:
    made: list[MonitorProcess] = []

    def make(*branches: str, **monitoring: Any) -> MonitorProcess:
        for branch in branches:
            remote.commit(branch, {"README": branch})
        made.append(MonitorProcess(tmp_path / "state", remote, list(branches), **monitoring))
        return made[-1]

    yield make
    for one in made:
        one.kill()
        print(one.words() if (one.state / "words").exists() else "")  # noqa: T201


def ids(lines: list[str]) -> list[str]:
    return [line.split(",")[1] for line in lines]


def published(process: MonitorProcess) -> Callable[[], bool]:
    return lambda: not process.waiting()


def test_a_sealed_chunk_is_published_counted_and_deleted(monitor: Start, remote: Remote) -> None:
    process = monitor("prod", "dev")
    process.start()
    requests = [request(number, rows=2, predictions=[0, 1]) for number in range(5)]
    lines = [header(sample_rows=4), *requests, request(9, "dev", status="error")]
    write(process.journal, [*lines, decision(), log_line("dev")])
    process.look()
    wait_until(published(process), describe=process.words)
    assert process.finish() == 0
    status = process.status()
    assert status["rows"] == {"dev": 1, "prod": 10}
    assert status["waiting"] == {"chunks": 0, "bytes": 0, "unreadable": 0}
    prod = status["branches"]["prod"]
    assert prod["target"] == "branch"
    assert prod["ref"] == "refs/heads/prod"
    assert prod["last_failure"] is None
    assert prod["last_push"]["commit"] == remote.tip("prod")
    assert (prod["last_push"]["segments"], prod["last_push"]["rows"]) == (2, 5)
    assert len(pushed_rows(remote)) == 5


def test_killed_at_any_moment_it_publishes_every_request_exactly_once(
    monitor: Start, remote: Remote
) -> None:
    """Chunks of two writers and three branches, while the process dies a dozen times."""
    branches = ("prod", "dev", "test")
    process = monitor(*branches)
    rng = random.Random(2)
    number = 0
    for chunk in range(1, 13):
        before = len(process.waiting()) + 2
        process.start()
        for writer in (WRITER, "00000000"):
            lines: list[Any] = [header(chunk, writer=writer)]
            for _ in range(6):
                number += 1
                lines.append(request(number, branches[number % 3]))
            write(process.journal, lines)
        process.look()
        if chunk % 3:
            wait_until((process.state / "monitor.lock").exists, describe=process.words)
            # Any moment will do, so a number of turns is as good as a time.
            turns = iter(range(rng.randrange(1, 60)))
            wait_until(lambda turns=turns: next(turns, None) is None)  # type: ignore[misc]
        else:
            wait_until(lambda n=before: len(process.waiting()) < n)  # type: ignore[misc]
        process.kill()
    process.start()
    wait_until(published(process), describe=process.words)
    assert process.finish() == 0
    assert Counter(ids(pushed_rows(remote))) == Counter(map(request_id, range(1, number + 1)))
    assert sum(process.status()["rows"].values()) == number
    for branch in branches:
        assert git(remote.path, "rev-list", "--merges", branch) == ""
        assert remote.read(branch, "README") == branch


def test_one_refused_branch_of_three_goes_aside_and_the_others_go_on(
    monitor: Start, remote: Remote
) -> None:
    process = monitor("prod", "dev", "test")
    hook = remote.hook(
        "pre-receive", 'while read a b ref; do [ "$ref" != refs/heads/dev ] || exit 1; done'
    )
    write(process.journal, [header(), *(request(n, b) for n, b in enumerate(process.branches))])
    process.start()
    wait_until(published(process), describe=process.words)
    # Said at the end of the round that deleted the chunk.
    wait_until(lambda: process.status().get("rows"), describe=process.status)
    status = process.status()["branches"]
    assert [status[name]["target"] for name in process.branches] == [
        "branch",
        "side-branch",
        "branch",
    ]
    assert status["dev"]["ref"] == "refs/heads/gateway-monitoring/dev"
    assert "hook declined" in status["dev"]["diverted"]
    assert "tried again when the gateway restarts" in status["dev"]["diverted"]
    assert remote.files("gateway-monitoring/dev", "monitoring/predictions/dev/")
    assert remote.files("dev") == ["README"]
    # Allowed again, it is not tried before the settings are written anew.
    hook.unlink()
    write(process.journal, [header(2), request(10, "dev")])
    process.look()
    wait_until(published(process), describe=process.words)
    assert remote.files("dev") == ["README"]
    process.write_settings()
    # The first chunk may still be met by a round that read the former settings.
    for chunk in (3, 4):
        write(process.journal, [header(chunk), request(8 + chunk, "dev")])
        process.look()
        wait_until(published(process), describe=process.words)
    assert remote.files("dev", "monitoring/")
    assert len(pushed_rows(remote)) == 6


def test_who_commits_and_with_what_words_changes_without_a_restart(
    monitor: Start, remote: Remote
) -> None:
    process = monitor("prod")
    process.start()

    def said(first: int, **monitoring: Any) -> list[str]:
        process.write_settings(**monitoring)
        # The first chunk may still be met by a round that read the former settings.
        for chunk in (first, first + 1):
            write(process.journal, [header(chunk), request(chunk)])
            process.look()
            wait_until(published(process), describe=process.words)
        return git(remote.path, "log", "-1", "--format=%an <%ae>%n%cn <%ce>%n%s", "prod").split(
            "\n"
        )

    gateway = "branch gateway <gateway@localhost>"
    assert said(1) == [gateway, gateway, "monitoring: 1 prediction [skip ci]"]
    people = {"author": "Ada <ada@example.org>", "committer": "Bob <bob@example.org>"}
    changed = said(3, **people, message="{branch}: {contents}")
    assert changed == [people["author"], people["committer"], "prod: 1 prediction"]
    assert said(5, author=people["author"])[:2] == [people["author"], gateway]


def test_the_weights_of_sampled_rows_add_up_to_all_rows(monitor: Start, remote: Remote) -> None:
    """Over chunks, branches and request sizes; rows that are not ok stand for themselves."""
    process = monitor("prod", "dev")
    sent: Counter[str] = Counter()
    failed = 0
    for chunk in range(1, 7):
        lines: list[Any] = [header(chunk, sample_rows=5)]
        for number in range(chunk * 100, chunk * 100 + 7 * chunk):
            branch = process.branches[number % 2]
            size = number % 3 + 1
            lines.append(request(number, branch, rows=size, predictions=[1] * size))
            sent[branch] += size
        lines.append(request(chunk * 100 + 99, "dev", status="error", predictions=None))
        sent["dev"] += 1
        failed += 1
        write(process.journal, lines)
    process.start()
    wait_until(published(process), describe=process.words)
    assert process.finish() == 0
    rows = list(csv.DictReader([",".join(PREDICTION_COLUMNS), *pushed_rows(remote)]))
    weights = dict.fromkeys(sent, 0.0)
    for row in rows:
        weights[row["branch"]] += float(row["weight"])
    assert weights == pytest.approx(sent)
    assert process.status()["rows"] == sent
    assert len(rows) <= 6 * 2 * 5 + failed < sum(sent.values()) / 2
    assert [float(r["weight"]) for r in rows if r["status"] == "error"] == [1.0] * failed


def test_with_the_remote_away_chunks_wait_and_go_out_when_it_is_back(
    monitor: Start, remote: Remote
) -> None:
    process = monitor("prod")
    away = remote.path.with_name("away.git")
    remote.path.rename(away)
    write(process.journal, [header(), request(1)])
    process.start()
    wait_until(lambda: process.status().get("branches", {}).get("prod", {}).get("last_failure"))
    status = process.status()
    assert status["waiting"]["chunks"] == 1
    assert status["rows"] == {"prod": 1}
    assert len(process.waiting()) == 1
    away.rename(remote.path)
    wait_until(published(process), describe=process.words)
    assert ids(pushed_rows(remote)) == [request_id(1)]
    assert process.finish() == 0


@pytest.mark.parametrize("how", ["end of input", "SIGTERM"])
def test_told_to_end_it_publishes_what_is_sealed_at_once(
    monitor: Start, remote: Remote, how: str
) -> None:
    process = monitor("prod", flush=900.0)
    process.start()
    write(process.journal, [header(1), request(1)])
    process.look()
    wait_until(published(process), describe=process.words)
    # Pushed a moment ago, so by its rhythm the branch would not be pushed again for 10 seconds.
    write(process.journal, [header(2), request(2)])
    if how == "SIGTERM":
        assert process.process is not None
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(60) == 0
    else:
        assert process.finish() == 0
    assert ids(pushed_rows(remote)) == [request_id(1), request_id(2)]
    assert process.waiting() == []


def test_told_to_end_with_the_remote_hanging_it_ends_and_keeps_the_chunk(
    monitor: Start, remote: Remote
) -> None:
    """The deadline is the monitor's own: nobody else kills the hanging child."""
    process = monitor("prod")
    process.finish_within = 1.0
    started = remote.path / "started"
    remote.hook("pre-receive", f"touch {started}\nexec sleep 100")
    write(process.journal, [header(), request(1)])
    process.start()
    wait_until(started.exists, describe=process.words)
    assert process.finish() == 0
    assert len(process.waiting()) == 1
    assert process.status()["branches"]["prod"]["last_failure"] is not None
    assert "it ends, and rows of prod wait on the disk" in process.words()


def test_with_target_none_rows_are_counted_and_stay_on_this_machine(
    monitor: Start, remote: Remote
) -> None:
    process = monitor("prod", target="none")
    tip = remote.tip("prod")
    write(process.journal, [header(1), request(1)])
    write(process.journal, [header(2, opened="2020-01-01T00:00:00Z"), request(2)])
    process.start()
    # The second is older than any retention that could be meant below.
    wait_until(lambda: process.status().get("rows") == {"prod": 2}, describe=process.words)
    assert process.status()["waiting"]["chunks"] == 0
    assert process.status()["branches"]["prod"]["target"] == "none"
    assert process.finish() == 0
    assert "wait on the disk" not in process.words()
    assert [path.name for path in process.waiting()] == ["00000001.jsonl", "00000002.jsonl"]
    assert remote.tip("prod") == tip


@pytest.mark.parametrize(
    "bound", [{"retention": 5 * 365 * 86400.0}, {"journal_bytes": 1500}], ids=["age", "size"]
)
def test_with_target_none_old_chunks_make_room(
    monitor: Start, remote: Remote, bound: dict[str, Any]
) -> None:
    process = monitor("prod", target="none", **bound)
    write(process.journal, [header(1, opened="2020-01-01T00:00:00Z"), request(1)])
    write(process.journal, [header(2), request(2)])
    process.start()
    wait_until(lambda: len(process.waiting()) == 1, describe=process.words)
    assert process.finish() == 0
    assert [path.name for path in process.waiting()] == ["00000002.jsonl"]


def test_rows_recorded_under_target_none_are_not_published_later(
    monitor: Start, remote: Remote
) -> None:
    process = monitor("prod")
    write(process.journal, [header(1, target="none"), request(1)])
    write(process.journal, [header(2), request(2)])
    process.start()
    wait_until(lambda: len(process.waiting()) == 1, describe=process.words)
    assert process.finish() == 0
    assert ids(pushed_rows(remote)) == [request_id(2)]


def test_an_unreadable_chunk_is_put_aside_and_stops_no_other(
    monitor: Start, remote: Remote
) -> None:
    process = monitor("prod")
    write(process.journal, [header(1)]).write_bytes(b"\0" * 100)
    write(process.journal, [header(2), request(2), b"damaged\n", request(3)])
    process.start()
    wait_until(published(process), describe=process.words)
    assert process.finish() == 0
    assert process.status()["waiting"] == {"chunks": 0, "bytes": 0, "unreadable": 1}
    assert ids(pushed_rows(remote)) == [request_id(2), request_id(3)]
    assert (process.journal / WRITER / "00000001.unreadable").read_bytes() == b"\0" * 100
    assert f"{WRITER}/00000001.jsonl:1" in process.words()
    logs = remote.files("prod", "logs/prod/")
    said = json.loads(remote.read("prod", logs[0]))
    assert f"{WRITER}/00000002.jsonl:3" in said["message"]


def test_a_chunk_confirmed_before_the_crash_is_only_deleted(monitor: Start, remote: Remote) -> None:
    """Killed between the confirmation and the deletion; meanwhile its segment was removed."""
    process = monitor("prod")
    path = write(process.journal, [header(), request(1)])
    process.start()
    wait_until(published(process), describe=process.words)
    assert process.finish() == 0
    with sqlite3.connect(process.state / "store.sqlite") as db:
        row = (WRITER, 1, "prod", "refs/heads/prod", remote.tip("prod"))
        db.execute("INSERT INTO confirmation VALUES (?, ?, ?, ?, ?)", row)
    db.close()
    removed = remote.commit("prod", {remote.files("prod", "monitoring/")[0]: None})
    write(process.journal, [header(), request(1)])
    process.start()
    wait_until(published(process), describe=process.words)
    assert process.finish() == 0
    assert remote.tip("prod") == removed
    assert process.status()["rows"] == {"prod": 1}
    assert not path.exists()


def test_a_second_monitor_waits_for_the_first_to_end(monitor: Start, remote: Remote) -> None:
    first, second = monitor("prod"), monitor()
    first.start()
    wait_until(first.status, describe=first.words)
    (first.state / "monitor.json").unlink()
    second.start()
    wait_until(lambda: "another monitor still holds" in second.words(), describe=second.words)
    assert second.status() == {}
    assert first.finish() == 0
    wait_until(second.status, describe=second.words)
    assert second.finish() == 0


def test_a_front_that_was_killed_is_outlived_without_a_complaint(
    monitor: Start, remote: Remote
) -> None:
    """Its status has no reader any more: what it published is there, and its end is in order."""
    process = monitor("prod")
    reader, writer = os.pipe()
    os.close(reader)
    process.start(stdout=writer)
    os.close(writer)
    write(process.journal, [header(), request(1)])
    assert process.process is not None
    assert process.process.wait(60) == 0, process.words()
    assert len(pushed_rows(remote)) == 1
    assert "BrokenPipe" not in process.words()


def test_without_its_settings_it_says_so_and_ends_with_an_error(
    monitor: Start, remote: Remote
) -> None:
    process = monitor("prod")
    process.settings.write_text('{"repository": 1}')
    process.start()
    assert process.process is not None
    assert process.process.wait(60) == 1
    assert "not the monitor's settings" in process.words()


def test_a_record_that_no_reader_can_follow_stops_no_other(monitor: Start, remote: Remote) -> None:
    """Nested this deep, JSON ends the recursion of whoever reads it."""
    process = monitor("prod")
    deep = "[" * 985 + "]" * 985
    line = json.dumps(request(1, instances=["DEEP"])).replace('"DEEP"', '{"a":' + deep + "}")
    write(process.journal, [header(1), line.encode() + b"\n"])
    write(process.journal, [header(2), request(2)])
    process.start()
    wait_until(lambda: request_id(2) in ids(pushed_rows(remote)), describe=process.words)
    assert process.finish() == 0
