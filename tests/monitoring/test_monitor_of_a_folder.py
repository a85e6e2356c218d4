"""The monitor process over a mounted folder: it needs no git, and loses and doubles nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from chunkfiles import WRITER, decision, header, log_line, request, request_id, write
from monitorprocess import MonitorProcess
from mounted import Mounted
from waiting import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> Mounted:
    made = Mounted(tmp_path / "mnt")
    for branch in ("prod", "dev"):
        made.write(branch, {"models/m.pkl": "x"})
    return made


@pytest.fixture
def process(tmp_path: Path, folder: Mounted) -> Iterator[MonitorProcess]:
    made = MonitorProcess(tmp_path / "state", folder, ["prod", "dev"])
    made.path = str(tmp_path / "no-git-here")
    yield made
    made.kill()
    print(made.words() if (made.state / "words").exists() else "")  # noqa: T201


def test_rows_come_into_each_branchs_folder_without_git(
    process: MonitorProcess, folder: Mounted
) -> None:
    process.start()
    lines = [header(), request(1), request(2, "dev", status="error"), decision(), log_line("dev")]
    write(process.journal, lines)
    process.look()
    wait_until(lambda: not process.waiting(), describe=process.words)
    assert process.finish() == 0
    assert [row["request_id"] for row in folder.rows("prod")] == [request_id(1)]
    assert [row["request_id"] for row in folder.rows("dev")] == [request_id(2)]
    prod = process.status()["branches"]["prod"]
    assert (prod["target"], prod["ref"]) == ("branch", str(folder.path / "prod"))
    push = prod["last_push"]
    assert (push["commit"], push["segments"], push["rows"]) == (None, 2, 2)
    assert not (process.state / "git").exists()


def test_killed_at_any_moment_it_publishes_every_request_exactly_once(
    process: MonitorProcess, folder: Mounted
) -> None:
    rng = random.Random(3)
    number = 0
    for chunk in range(1, 13):
        before = len(process.waiting()) + 1
        process.start()
        lines = [header(chunk)]
        for _ in range(6):
            lines.append(request(number, ("prod", "dev")[number % 2]))
            number += 1
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
    wait_until(lambda: not process.waiting(), describe=process.words)
    assert process.finish() == 0
    rows = [*folder.rows("prod"), *folder.rows("dev")]
    assert Counter(row["request_id"] for row in rows) == Counter(map(request_id, range(number)))
    assert [name for name in folder.files() if "/." in name] == []


def test_with_the_mount_away_chunks_wait_and_go_out_when_it_is_back(
    process: MonitorProcess, folder: Mounted, tmp_path: Path
) -> None:
    away = folder.path.rename(tmp_path / "away")
    folder.path.mkdir()
    process.start()
    write(process.journal, [header(), request(1)])
    process.look()

    def failed() -> bool:
        branch = process.status().get("branches", {}).get("prod", {})
        return bool(branch.get("last_failure"))

    wait_until(failed, describe=process.words)
    assert "is it mounted" in process.status()["branches"]["prod"]["last_failure"]["reason"]
    assert [path.parent.name for path in process.waiting()] == [WRITER]
    folder.path.rmdir()
    away.rename(folder.path)
    wait_until(lambda: not process.waiting(), describe=process.words)
    assert len(folder.rows("prod")) == 1
