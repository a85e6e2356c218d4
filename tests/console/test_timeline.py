"""What happened is told once, in order, in bounded words, and after a restart as well."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until_async

from gateway.names import Branch, Commit
from gateway.timeline import MOST, MOST_PUSHES, TIMELINE_FILE, Timeline

PROD = Branch("prod")
COMMIT = Commit("c" * 40)


def drift(severity: str, *columns: str) -> dict[str, Any]:
    moved = [{"column": name, "severity": severity} for name in columns]
    return {"branches": {"prod": {"severity": severity, "columns": moved}}}


def told(timeline: Timeline) -> list[tuple[str, str, str]]:
    return [(one.kind, one.word, one.text) for one in timeline.after()]


def test_a_restart_goes_on_with_what_was_told_before(tmp_path: Path) -> None:
    async def lives() -> None:
        first = Timeline(tmp_path)
        first.began("1")
        keeper = asyncio.create_task(first.run())
        # Names are subclasses of str, which must not keep them from the file.
        first.decided(PROD, COMMIT, "serving", "loaded")
        await wait_until_async(lambda: b"serving" in _file(tmp_path))
        keeper.cancel()
        first.ordered(PROD, "held", "said at the very end")
        first.close()

        second = Timeline(tmp_path)
        second.began("2")
        assert [one.number for one in second.after()] == [1, 2, 3, 4]
        assert [one.word for one in second.after()] == ["started", "serving", "held", "started"]
        assert second.after()[1].commit == COMMIT

    asyncio.run(lives())


def _file(folder: Path) -> bytes:
    path = folder / TIMELINE_FILE
    return path.read_bytes() if path.exists() else b""


@pytest.mark.parametrize("content", [b"", b"{", b'[{"number": 1}]', b"[1]"])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / TIMELINE_FILE).write_bytes(content)
    timeline = Timeline(tmp_path)
    timeline.began("1")
    assert [one.word for one in timeline.after()] == ["started"]


def test_orders_that_a_restart_repeats_are_told_once(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path)
    for _ in range(3):
        timeline.ordered(PROD, "ejected", "a guardrail is breached")
    timeline.ordered(PROD, None, "by gateway.yaml again")
    timeline.ordered(PROD, "ejected", "a guardrail is breached")
    assert [one.word for one in timeline.after()] == ["ejected", "as configured", "ejected"]


def test_drift_is_told_when_it_begins_grows_and_ends(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path)
    for severity in ("ok", "warn", "alert", "alert", "insufficient", "critical", "warn", "ok"):
        timeline.drifted(drift(severity, "a", "b", "c", "d"))
    assert told(timeline) == [
        ("drift", "alert", "columns moved: a, b, c and 1 more"),
        ("drift", "critical", "columns moved: a, b, c and 1 more"),
        ("drift", "ok", "back within its tolerance"),
    ]
    timeline.drifted(None)


def test_pushes_make_no_room_of_what_else_happened(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path)
    timeline.decided(PROD, COMMIT, "quarantined", "why")
    status = {"branches": {"prod": {"ref": "refs/heads/prod", "last_push": {"rows": 1200}}}}
    for _ in range(MOST_PUSHES + 20):
        timeline.pushed([(PROD, "pushed")], status)
    assert len(timeline.after()) == MOST_PUSHES + 1
    assert told(timeline)[0] == ("branch", "quarantined", "why")
    assert told(timeline)[-1] == ("push", "pushed", "1,200 rows to refs/heads/prod")
    assert timeline.last_change() == timeline.after()[0]


def test_a_push_that_goes_on_failing_is_told_once(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path)
    status = {"branches": {"prod": {"last_failure": {"reason": "declined"}}}}
    for _ in range(3):
        timeline.pushed([(PROD, "failed")], status)
    assert told(timeline) == [("trouble", "push", "declined")]


def test_events_and_their_texts_are_bounded(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path)
    for number in range(MOST + 7):
        timeline.decided(PROD, COMMIT, "quarantined", f"{number} " + "long\n " * 1000)
    assert len(timeline.after()) == MOST
    assert timeline.newest == MOST + 7
    assert max(len(one.text) for one in timeline.after()) == 300
    assert "\n" not in timeline.after()[-1].text
    assert [one.number for one in timeline.after(MOST + 5)] == [MOST + 6, MOST + 7]
