"""What was answered becomes lines of the journal, before it is answered.

Owns the form of every line and the cutting of chunks. A request is one line with all its rows;
`Exchange` is what is known of it while it is under way.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import msgspec

from gateway.chunks import Outcome
from gateway.errors import UnavailableError
from gateway.journal import CHUNK_BYTES, Journal, JournalFull
from gateway.metrics import Metrics
from gateway.names import Branch, Epoch, RequestId
from gateway.routing import Assignment, Routing
from gateway.timestamps import rfc3339
from gateway.workers.jobs import Answer, Job, Serving

log = logging.getLogger(__name__)

#: Recorded a minute and branch.
LOG_LINES = 100
#: Seconds after which whoever has outcomes may send them again, when there is no room for them.
OUTCOMES_AGAIN = 5

_LINE = (
    b'{"t":"request","ts":"%s","request_id":"%s","status":"%s","latency_ms":%.3f,"rows":%d,'
    b'"unit":%s,%s%s}\n'
)

_StampKey = tuple[int, Branch, Branch, str, Epoch, float]
#: Who answers, kept so that its id is given to no other object; the text; the last chunk in which
#: all that the text refers to is known to be described.
_Stamp = tuple[Serving | None, bytes, int]


class Exchange:
    """One request from its arrival to its answer."""

    __slots__ = (
        *("arrived", "assignment", "branch", "deadline", "payload", "request_id", "rows"),
        "status",
    )

    def __init__(
        self,
        request_id: RequestId,
        assignment: Assignment,
        payload: bytes,
        rows: int,
        arrived: float,
        deadline: float = inf,
    ) -> None:
        self.request_id = request_id
        self.assignment = assignment
        #: Which is being asked, and should answer.
        self.branch = assignment.arm
        self.payload = payload
        self.rows = rows
        self.arrived = arrived  # time.perf_counter()
        #: After which its caller does not wait: time.monotonic(), which is the loop's clock too.
        self.deadline = deadline
        self.status = "ok"


class Recorder:
    """Writes the journal; as a keeper it syncs it each second and cuts a chunk each flush."""

    def __init__(
        self,
        journal: Journal,
        routing: Routing,
        metrics: Metrics,
        sealed: Callable[[], None],
    ) -> None:
        """`sealed` is called after a chunk was handed over."""
        self._journal = journal
        self._routing = routing
        self._metrics = metrics
        self._sealed = sealed
        #: Schemas and epochs, and the chunk that each was last described in.
        self._described: dict[str, int] = {}
        self._stamps: dict[_StampKey, _Stamp] = {}
        self._log_lines: dict[Branch, tuple[int, int]] = {}
        self._last_cut = 0.0
        self._unsynced = False
        self.full = False
        self._refuses_outcomes = False

    @property
    def oldest_chunk(self) -> float | None:
        """When the oldest sealed chunk was last written to, in Unix time; None without one."""
        return self._journal.oldest

    @property
    def most_bytes(self) -> int:
        """Of the journal, beyond which nothing is recorded."""
        return self._journal.limit_bytes

    # What is recorded

    def answered(self, batch: Sequence[tuple[Job, Answer]]) -> None:
        """Record the good answers of one frame in one write."""
        config = self._routing.config.monitoring
        keeps_instances = config.features != "none"
        lines = []
        rows = 0
        now = rfc3339(time.time())
        for job, answer in batch:
            exchange: Exchange = job.context
            rows += exchange.rows
            body = b'"predictions":' + answer.predictions
            if answer.probabilities:
                body += b',"probabilities":' + answer.probabilities
            if keeps_instances:
                if answer.normalised:
                    body += b',"normalised":true,"instances":' + answer.normalised
                elif not config.redact:
                    body += b',"instances":' + exchange.payload
            lines.append(self._line(exchange, answer.serving, now, body))
        self._append(lines, rows, now)

    def failed(
        self, exchange: Exchange, serving: Serving | None, status: str, message: str
    ) -> None:
        """Record a request that no branch answered; `serving` is what should have."""
        config = self._routing.config.monitoring
        exchange.status = status
        body = b'"error":' + json.dumps(message).encode()
        # Nobody has told the columns of these rows apart, so redaction leaves them out whole.
        if config.features != "none" and not config.redact and _is_json(exchange.payload):
            body += b',"instances":' + exchange.payload
        now = rfc3339(time.time())
        self._append([self._line(exchange, serving, now, body)], exchange.rows, now)

    def decided(
        self, branch: Branch, commit: str, decision: str, reason: str, evidence: dict[str, Any]
    ) -> None:
        """Record a decision of the gateway, on the branch it concerns."""
        self._append_object(
            {
                "t": "decision",
                "branch": branch,
                "commit": commit,
                "decision": decision,
                "reason": reason,
                "evidence": evidence,
            }
        )

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Record them all in one write, or none: UnavailableError.

        Unlike a prediction, which its user waits for, an outcome can be sent again.
        """
        if not outcomes:
            return
        # While they were judged others were recorded: no line may be older than its chunk.
        now = rfc3339(time.time())
        stamped = [msgspec.structs.replace(outcome, ts=now) for outcome in outcomes]
        lines = [msgspec.json.encode(outcome) + b"\n" for outcome in stamped]
        try:
            self._journal.append(b"".join(lines), 0, now)
        except JournalFull as error:
            if not self._refuses_outcomes:
                log.error("outcomes are refused: %s", error)
            self._refuses_outcomes = True
            raise UnavailableError(
                f"{error}, so no outcome of this request was recorded: send it again later",
                where="journal",
                retry_after=OUTCOMES_AGAIN,
            ) from error
        if self._refuses_outcomes:
            log.warning("outcomes are taken again")
        self._refuses_outcomes = False

    def logged(
        self,
        branch: Branch,
        commit: str,
        level: str,
        logger: str,
        message: str,
        request_id: RequestId | None = None,
    ) -> None:
        """Say and record a line of the branch's own code or of its loading.

        Only warnings and errors are recorded, at most `LOG_LINES` a minute and branch: what goes
        into git must not grow with a loop that fails.
        """
        number = logging.getLevelNamesMapping()[level.upper()]
        extra = {"branch": branch, "commit": commit}
        if request_id is not None:
            extra["request_id"] = request_id
        log.log(number, "%s: %s", logger, message, extra=extra)
        if number < logging.WARNING:
            return
        minute = int(time.monotonic() // 60)
        known, lines = self._log_lines.get(branch, (minute, 0))
        lines = lines + 1 if known == minute else 1
        self._log_lines[branch] = (minute, lines)
        if lines > LOG_LINES:
            self._metrics.branch(branch).output_dropped.inc()
            return
        record = {"branch": branch, "commit": commit, "level": level, "logger": logger}
        if request_id is not None:
            record["request_id"] = request_id
        self._append_object({"t": "log", **record, "message": message})

    # The keeper

    async def run(self) -> None:
        """Sync each second; cut when the flush is due or the chunk is big enough."""
        loop = asyncio.get_running_loop()
        self._last_cut = loop.time()
        while True:
            await asyncio.sleep(1.0)
            await self._sync()
            due = self._last_cut + self._routing.config.monitoring.flush
            if loop.time() >= due or self._is_big():
                await self.cut()
            if self.full or self._journal.sealed_bytes:
                await asyncio.to_thread(self._journal.measure)
            self._metrics.journal_bytes.set(self._journal.sealed_bytes + self._journal.size)

    async def cut(self) -> None:
        """Hand the open chunk over to the monitor."""
        await self._sync()
        self.seal()

    async def _sync(self) -> None:
        try:
            await asyncio.to_thread(self._journal.sync)
        except OSError as error:
            if not self._unsynced:
                log.error("the journal is not synced to the disk: %s", error)
            self._unsynced = True
        else:
            self._unsynced = False

    def seal(self) -> None:
        """`cut` without the sync: between one row and the next."""
        self._last_cut = asyncio.get_running_loop().time()
        if self._journal.seal():
            if len(self._described) > 1000:
                self._described.clear()
            self._sealed()

    def _is_big(self) -> bool:
        """Would the segments of the open chunk pass `segment_bytes`? Estimated by the sample."""
        monitoring = self._routing.config.monitoring
        size = self._journal.size
        if size > CHUNK_BYTES:
            return True
        if monitoring.sample_rows != "all" and self._journal.rows:
            most = monitoring.sample_rows * len(self._routing.config.branches)
            size = int(size * min(1.0, most / self._journal.rows))
        return size > monitoring.segment_bytes

    # Lines

    def _line(self, exchange: Exchange, serving: Serving | None, now: str, body: bytes) -> bytes:
        unit = exchange.assignment.unit
        return _LINE % (
            now.encode(),
            exchange.request_id.encode(),
            exchange.status.encode(),
            (time.perf_counter() - exchange.arrived) * 1000,
            exchange.rows,
            b'"%s"' % unit.encode() if unit else b"null",
            self._stamp(exchange, serving),
            body,
        )

    def _stamp(self, exchange: Exchange, serving: Serving | None) -> bytes:
        """The part of a line that is the same for all requests of an arm answered by one worker."""
        assignment, branch = exchange.assignment, exchange.branch
        key = (
            id(serving),
            branch,
            assignment.arm,
            assignment.reason,
            assignment.epoch,
            assignment.propensity,
        )
        known = self._stamps.get(key)
        if known is not None and known[2] == self._journal.open_chunk:
            return known[1]
        text = known[1] if known is not None else _stamped(exchange, serving)
        if serving is not None and not self._is_described(serving.fingerprint):
            self._describe(
                serving.fingerprint,
                {
                    "t": "schema",
                    "fingerprint": serving.fingerprint,
                    "columns": serving.columns,
                    "classes": serving.classes,
                },
            )
        if not self._is_described(assignment.epoch):
            description = self._routing.describe_epoch(assignment.epoch)
            self._describe(assignment.epoch, {"t": "epoch", **description})
        if len(self._stamps) > 1000:
            self._stamps.clear()
        whole = self._is_described(assignment.epoch) and (
            serving is None or self._is_described(serving.fingerprint)
        )
        self._stamps[key] = (serving, text, self._journal.open_chunk if whole else -1)
        return text

    def _describe(self, key: str, description: dict[str, Any]) -> None:
        """Write what a row refers to, once in each chunk and before the row."""
        if self._append_object(description, stamped=False):
            self._described[key] = self._journal.open_chunk

    def _is_described(self, key: str) -> bool:
        chunk = self._journal.open_chunk
        return chunk > 0 and self._described.get(key) == chunk

    def _append_object(self, fields: dict[str, Any], *, stamped: bool = True) -> bool:
        now = rfc3339(time.time())
        if stamped:
            fields = {"t": fields["t"], "ts": now, **fields}
        return self._append([json.dumps(fields, separators=(",", ":")).encode() + b"\n"], 0, now)

    def _append(self, lines: list[bytes], rows: int, now: str) -> bool:
        try:
            self._journal.append(b"".join(lines), rows, now)
        except JournalFull as error:
            self._metrics.journal_dropped.inc(rows)
            if not self.full:
                log.error("predictions are answered but not recorded: %s", error)
            self.full = True
            return False
        if self.full:
            log.warning("predictions are recorded again")
        self.full = False
        return True


def _stamped(exchange: Exchange, serving: Serving | None) -> bytes:
    assignment = exchange.assignment
    text = json.dumps(
        {
            "branch": exchange.branch,
            "commit": serving.commit if serving else "",
            "fingerprint": serving.fingerprint if serving else "",
            "assigned": assignment.arm,
            "reason": assignment.reason,
            "propensity": assignment.propensity,
            "epoch": assignment.epoch,
        },
        separators=(",", ":"),
    )
    return text[1:-1].encode() + b","


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True
