"""What is answered is a line of the journal that a chunk's reader understands."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.chunks import BadLine, Chunk, Decision, EpochRecord, Log, Outcome, Request, Schema
from gateway.config import Config
from gateway.errors import UnavailableError
from gateway.journal import Journal
from gateway.metrics import Metrics
from gateway.names import Branch, Commit, Fingerprint, RequestId
from gateway.recording import LOG_LINES, OUTCOMES_AGAIN, Exchange, Recorder
from gateway.routing import Routing
from gateway.workers.jobs import Answer, Job, Serving

PROD = Branch('team/"é"')
COMMIT = Commit("c" * 40)
ODD = ['"', "\\", "\n", "\r\n", "\x00", "\x1b", "\u2028", "é", "\U0001f600", "'}", "\ufeff"]


def serving(fingerprint: str = "f" * 32) -> Serving:
    return Serving(PROD, COMMIT, Fingerprint(fingerprint), ("a", 'b"'), (0, 1))


class Room:
    """A recorder over a real journal, inside a running loop."""

    def __init__(self, folder: Path, *, limit: int = 10**6, **monitoring: Any) -> None:
        self.config = Config.model_validate(
            {
                "repository": "r",
                "baseline": PROD,
                "branches": {PROD: {"weight": 1}},
                "monitoring": monitoring,
            }
        )
        self.folder = folder
        self.metrics = Metrics()
        self.routing = Routing(self.config, b"k" * 32, {})
        self.handed_over = 0
        self.journal = Journal(
            folder,
            "a1b2c3d4",
            limit_bytes=limit,
            header=lambda: {"sample_rows": "all", "features": "segments"},
        )
        self.recorder = Recorder(self.journal, self.routing, self.metrics, self._sealed)
        self._numbers = iter(range(10**6))

    def _sealed(self) -> None:
        self.handed_over += 1

    def exchange(self, payload: bytes = b"[[1,2]]", unit: str | None = "ada") -> Exchange:
        request_id = RequestId.build(1, next(self._numbers))
        rows = len(json.loads(payload))
        given = self.routing.assign(unit, request_id)
        return Exchange(request_id, given, payload, rows, time.perf_counter())

    def answer(
        self, exchange: Exchange, predictions: bytes = b"[1]", **parts: bytes
    ) -> tuple[Job, Answer]:
        future = asyncio.get_running_loop().create_future()
        job = Job(exchange.payload, exchange.rows, 0.0, exchange, future)
        probabilities, normalised = parts.get("probabilities", b""), parts.get("normalised", b"")
        return job, Answer(predictions, probabilities, normalised, 0, serving())

    def read(self, bad: int = 0) -> list[Any]:
        """Seal, and read every chunk as the monitor does; so many lines may be no records."""
        self.recorder.seal()
        found: list[Any] = []
        for path in sorted(self.folder.rglob("*.jsonl")):
            with Chunk(path) as chunk:
                found += chunk
        assert len([record for record in found if isinstance(record, BadLine)]) == bad
        return found


def within(body: Callable[[], None]) -> None:
    """Run a test that needs a running event loop."""

    async def run() -> None:
        body()

    asyncio.run(run())


def test_an_answer_is_one_line_with_all_its_rows(tmp_path: Path) -> None:
    def body() -> None:
        room = Room(tmp_path)
        asked = room.exchange(b"[[1,2],[3,4]]")
        room.recorder.answered([room.answer(asked, b"[0,1]", probabilities=b"[[1,0],[0,1]]")])
        (line,) = [record for record in room.read() if isinstance(record, Request)]
        assert (line.request_id, line.branch, line.assigned) == (asked.request_id, PROD, PROD)
        assert (line.commit, line.fingerprint, line.status) == (COMMIT, "f" * 32, "ok")
        assert (line.reason, line.unit, line.propensity) == ("split", asked.assignment.unit, 1.0)
        assert (line.rows, line.epoch) == (2, room.routing.epoch)
        assert [bytes(one) for one in line.predictions or ()] == [b"0", b"1"]
        assert [bytes(one) for one in line.instances or ()] == [b"[1,2]", b"[3,4]"]
        assert line.latency_ms is not None
        assert line.latency_ms >= 0

    within(body)


def test_every_chunk_says_what_its_rows_refer_to_once_and_before_them(tmp_path: Path) -> None:
    def body() -> None:
        room = Room(tmp_path)
        for _ in range(2):
            for _ in range(3):
                room.recorder.answered([room.answer(room.exchange())])
            room.recorder.seal()
        assert room.handed_over == 2
        for path in sorted(tmp_path.rglob("*.jsonl")):
            with Chunk(path) as chunk:
                kinds = [type(record) for record in chunk]
            assert kinds == [Schema, EpochRecord, Request, Request, Request]

    within(body)


@pytest.mark.parametrize("odd", ODD)
def test_no_word_of_a_model_or_a_person_breaks_a_line(tmp_path: Path, odd: str) -> None:
    def body() -> None:
        room = Room(tmp_path)
        payload = json.dumps([odd]).encode()
        room.recorder.failed(room.exchange(payload, odd), serving(), "error", odd)
        room.recorder.answered([room.answer(room.exchange(payload, odd), payload)])
        room.recorder.decided(PROD, COMMIT, "quarantined", odd, {odd: odd})
        room.recorder.logged(PROD, COMMIT, "error", odd, odd)
        failed, answered, decided, logged = [
            record for record in room.read() if not isinstance(record, Schema | EpochRecord)
        ]
        assert isinstance(failed, Request)
        assert isinstance(answered, Request)
        assert isinstance(decided, Decision)
        assert isinstance(logged, Log)
        assert (failed.error, decided.reason, logged.message, logged.logger) == (odd,) * 4
        assert [json.loads(bytes(one)) for one in answered.predictions or ()] == [odd]
        assert json.loads(bytes(decided.evidence)) == {odd: odd}

    within(body)


@pytest.mark.parametrize(
    ("monitoring", "normalised", "expected"),
    [
        ({}, b"", b"[1,2]"),
        ({"features": "none"}, b"", None),
        ({"features": "none", "redact": ["a"]}, b'[{"b":2}]', None),
        ({"redact": ["a"]}, b'[{"b":2}]', b'{"b":2}'),
        # The worker was started before the redaction was in force: nothing rather than too much.
        ({"redact": ["a"]}, b"", None),
    ],
)
def test_redacted_values_are_in_no_line(
    tmp_path: Path, monitoring: dict[str, Any], normalised: bytes, expected: bytes | None
) -> None:
    def body() -> None:
        room = Room(tmp_path, **monitoring)
        room.recorder.answered([room.answer(room.exchange(), normalised=normalised)])
        (line,) = [record for record in room.read() if isinstance(record, Request)]
        written = None if line.instances is None else bytes(line.instances[0])
        assert written == expected
        assert line.normalised == (expected is not None and bool(normalised))

    within(body)


def test_a_failure_keeps_its_rows_but_not_where_redaction_could_not_be_done(
    tmp_path: Path,
) -> None:
    def body() -> None:
        for folder, redact, kept in (("a", [], True), ("b", ["x"], False)):
            room = Room(tmp_path / folder, redact=redact)
            room.recorder.failed(room.exchange(), None, "overload", "full")
            (line,) = [record for record in room.read() if isinstance(record, Request)]
            assert (line.status, line.commit, line.branch) == ("overload", "", PROD)
            assert (line.instances is not None) == kept

    within(body)


def test_rows_that_find_no_room_are_counted_and_serving_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def body() -> None:
        room = Room(tmp_path, limit=2000)
        for _ in range(20):
            room.recorder.answered([room.answer(room.exchange(b"[[1],[2],[3]]"), b"[1,1,1]")])
        assert room.recorder.full
        written = [record for record in room.read() if isinstance(record, Request)]
        dropped = room.metrics.registry.get_sample_value("gateway_journal_dropped_rows_total")
        assert 0 < len(written) < 20
        assert dropped == 60 - sum(line.rows for line in written)
        said = [r for r in caplog.records if "not recorded" in r.getMessage()]
        assert len(said) == 1
        for path in tmp_path.rglob("*.jsonl"):
            path.unlink()
        room.journal.measure()
        room.recorder.answered([room.answer(room.exchange())])
        assert not room.recorder.full

    within(body)


@pytest.mark.parametrize("refused", ["ftruncate", "write"])
def test_whatever_the_disk_says_rows_are_counted_as_dropped_and_nothing_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def body() -> None:
        room = Room(tmp_path)
        room.recorder.answered([room.answer(room.exchange())])
        real = os.write

        def fail(*_: Any) -> Any:
            raise OSError(5, "Input/output error")

        if refused == "ftruncate":  # a torn line that cannot be taken back
            monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:5]))
        monkeypatch.setattr(os, refused, fail)
        room.recorder.answered([room.answer(room.exchange())])
        monkeypatch.undo()
        value = room.metrics.registry.get_sample_value("gateway_journal_dropped_rows_total")
        assert value == 1
        room.recorder.answered([room.answer(room.exchange())])
        # A line that could not be taken back is told as torn, and spoils no other.
        found = room.read(bad=int(refused == "ftruncate"))
        assert len([line for line in found if isinstance(line, Request)]) == 2

    within(body)


def test_a_disk_that_cannot_be_synced_does_not_end_the_keeper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five deaths in a minute shut the gateway down; a full disk must not."""

    async def story() -> bool:
        room = Room(tmp_path)
        room.recorder.answered([room.answer(room.exchange())])

        def fail(fd: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fdatasync", fail)
        task = asyncio.create_task(room.recorder.run())
        done, _ = await asyncio.wait([task], timeout=2.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return bool(done)

    assert asyncio.run(story()) is False


def test_a_loop_that_fails_does_not_fill_git_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = SimpleNamespace(
        monotonic=lambda: 90.0, time=time.time, perf_counter=time.perf_counter
    )

    def body() -> None:
        monkeypatch.setattr("gateway.recording.time", stopped)
        room = Room(tmp_path)
        for _ in range(LOG_LINES + 7):
            room.recorder.logged(PROD, COMMIT, "warning", "x", "again")
        room.recorder.logged(PROD, COMMIT, "info", "x", "only said")
        room.recorder.logged(Branch("other"), COMMIT, "warning", "x", "a branch has its own")
        assert len(room.read()) == LOG_LINES + 1
        dropped = "gateway_branch_output_dropped"
        (family,) = [f for f in room.metrics.registry.collect() if f.name.startswith(dropped)]
        counts = {s.labels["branch"]: s.value for s in family.samples if "_total" in s.name}
        assert counts[PROD] == 7

    within(body)


def outcome(value: float = 1.0) -> Outcome:
    return Outcome("judged earlier", str(RequestId.build(1, 1)), "reward", value=value)


def test_outcomes_are_lines_of_one_write_with_the_time_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def body() -> None:
        room = Room(tmp_path)
        written: list[bytes] = []
        real = Journal.append

        def append(journal: Journal, data: bytes, rows: int, now: str) -> None:
            written.append(data)
            real(journal, data, rows, now)

        monkeypatch.setattr(Journal, "append", append)
        room.recorder.outcomes([])
        assert room.journal.open_chunk == 0
        room.recorder.outcomes([outcome(value) for value in (1, 2, 3)])
        assert len(written) == 1
        found = room.read()
        assert [(line.request_id, line.value) for line in found] == [
            (RequestId.build(1, 1), value) for value in (1, 2, 3)
        ]
        (chunk,) = tmp_path.rglob("*.jsonl")
        opened = json.loads(chunk.read_bytes().splitlines()[0])["opened"]
        # No line is older than its chunk, however long the judging took.
        assert {line.ts for line in found} == {opened}

    within(body)


def test_outcomes_without_room_are_refused_whole_and_predictions_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def body() -> None:
        room = Room(tmp_path, limit=2000)
        for _ in range(3):
            with pytest.raises(UnavailableError) as caught:
                room.recorder.outcomes([outcome()] * 100)
            assert caught.value.retry_after == OUTCOMES_AGAIN
        room.recorder.answered([room.answer(room.exchange())])
        assert not room.recorder.full
        room.recorder.outcomes([outcome()])
        kinds = [type(record) for record in room.read()]
        assert kinds == [Schema, EpochRecord, Request, Outcome]
        said = [record.getMessage() for record in caplog.records]
        assert [text.partition(":")[0] for text in said] == [
            "outcomes are refused",
            "outcomes are taken again",
        ]

    within(body)
