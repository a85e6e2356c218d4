"""A chunk becomes the files that go into git: a pure function of its bytes.

Owns the columns, which are fixed for ever, and the layout of paths. Whatever process does it, and
however often, the same chunk makes the same bytes under the same names.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from gateway.chunks import BadLine, Chunk, ChunkKey, Decision, Header, Log, Record, Request, Schema
from gateway.layout import Kind, Segment, segment_path
from gateway.monitoring.features import features_of
from gateway.monitoring.sampling import Sample
from gateway.names import Branch
from gateway.scores import score_of

PREDICTION_COLUMNS = (
    "ts",
    "request_id",
    "row",
    "branch",
    "commit",
    "fingerprint",
    "assigned",
    "reason",
    "unit",
    "propensity",
    "epoch",
    "status",
    "latency_ms",
    "prediction",
    "score",
    "weight",
    "features",
)
DECISION_COLUMNS = ("ts", "branch", "commit", "decision", "reason", "evidence")
DRIFT_COLUMNS = (
    "window_start",
    "window_end",
    "branch",
    "commit",
    "reference_id",
    "column",
    "kind",
    "n",
    "n_ref",
    "missing_rate",
    "missing_rate_ref",
    "invalid_rate",
    "out_of_range_rate",
    "new_category_rate",
    "mean",
    "mean_ref",
    "mean_shift_sd",
    "psi",
    "psi_null",
    "js_distance",
    "ks",
    "chi2",
    "df",
    "p_tolerance",
    "tolerance",
    "severity",
    "reason",
    "replicas",
    "partial",
    "schema_version",
)
OUTCOME_COLUMNS = ("ts", "request_id", "row", "branch", "commit", "metric", "value", "status")
RESULT_COLUMNS = (
    "start",
    "end",
    "contrast",
    "epoch",
    "baseline",
    "candidate",
    "arm",
    "commit",
    "fingerprint",
    "share",
    "metric",
    "units",
    "events",
    "sums",
    "terms",
)
#: Of each kind that is a CSV file.
COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    "predictions": PREDICTION_COLUMNS,
    "drift": DRIFT_COLUMNS,
    "decisions": DECISION_COLUMNS,
    "outcomes": OUTCOME_COLUMNS,
    "results": RESULT_COLUMNS,
}
_UNKNOWN = Schema("")


@dataclass(frozen=True, slots=True)
class Contents:
    """All that one chunk says. `counts` is of every row, by (epoch, assigned, branch, status)."""

    key: ChunkKey
    segments: tuple[Segment, ...]
    counts: Mapping[tuple[str, str, str, str], int]
    bad_lines: int
    skipped: int

    @property
    def branches(self) -> frozenset[Branch]:
        return frozenset(segment.branch for segment in self.segments)

    @property
    def size(self) -> int:
        return sum(len(segment.content) for segment in self.segments)


def contents_of(chunk: Chunk) -> Contents:
    """Read an entered chunk to its end."""
    folder = _Folder(chunk.header)
    for record in chunk:
        folder.add(record)
    segments = tuple(folder.segments())
    return Contents(
        chunk.key, segments, folder.counts, bad_lines=len(folder.bad), skipped=chunk.skipped
    )


class Rows:
    """CSV text as RFC 4180 quotes it, with `\\n` at the end of a line."""

    def __init__(self, columns: Iterable[str]) -> None:
        self._lines: list[str] = []
        # The csv module before Python 3.13 quotes a lone \r only if it is in the line terminator.
        self._writer = csv.writer(self, lineterminator="\r\n")
        self._writer.writerow(columns)

    def write(self, line: str) -> None:
        """What csv.writer calls, once a row."""
        self._lines.append(line[:-2] + "\n")

    def add(self, *fields: object) -> None:
        self._writer.writerow(fields)

    def add_line(self, line: str) -> None:
        """A row as `line_of` made it."""
        self._lines.append(line + "\n")

    def __len__(self) -> int:
        return len(self._lines) - 1

    def encode(self) -> bytes:
        return "".join(self._lines).encode()


def line_of(*fields: object) -> str:
    """One row of CSV, without the end of its line."""
    rows = Rows(())
    rows.add(*fields)
    return rows.encode().decode().partition("\n")[2].removesuffix("\n")


class _Folder:
    """The records of one chunk, sorted by branch as they come."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._schemas: dict[str, Schema] = {}
        self._kept: dict[Branch, list[tuple[int, Request]]] = {}
        self._samples: dict[Branch, Sample] = {}
        self._decisions: dict[Branch, list[Decision]] = {}
        self._logs: dict[Branch, list[Log]] = {}
        self._place = 0
        self.counts: Counter[tuple[str, str, str, str]] = Counter()
        self.bad: list[BadLine] = []

    def add(self, record: Record | BadLine) -> None:
        self._place += 1
        match record:
            case Request():
                self._add_request(record)
            case Schema():
                self._schemas[record.fingerprint] = record
            case Decision():
                self._decisions.setdefault(Branch(record.branch), []).append(record)
            case Log():
                self._logs.setdefault(Branch(record.branch), []).append(record)
            case BadLine():
                self.bad.append(record)

    def _add_request(self, request: Request) -> None:
        branch = Branch(request.branch)
        counted = (request.epoch, request.assigned, request.branch, request.status)
        self.counts[counted] += request.rows
        # A shadow's are sampled whatever became of them: it may fail for every user, harmlessly.
        if request.status != "ok" and request.reason != "shadow":
            self._kept.setdefault(branch, []).append((self._place, request))
            return
        if branch not in self._samples:
            self._samples[branch] = Sample(self._header.sample_rows)
        self._samples[branch].add(self._place, request)

    def segments(self) -> Iterator[Segment]:
        """By kind, then branch; nothing for a branch that has no rows of a kind."""
        for branch in sorted(self._kept.keys() | self._samples.keys()):
            rows = self._predictions(branch)
            if len(rows):
                yield self._segment("predictions", branch, rows.encode(), len(rows))
        for branch, decisions in sorted(self._decisions.items()):
            rows = Rows(DECISION_COLUMNS)
            for decision in decisions:
                evidence = msgspec.json.format(bytes(decision.evidence), indent=-1).decode()
                fields = (decision.ts, branch, decision.commit, decision.decision)
                rows.add(*fields, decision.reason, evidence)
            yield self._segment("decisions", branch, rows.encode(), len(rows))
        for branch, logs in sorted(self._all_logs().items()):
            lines = b"".join(_log_line(record) for record in logs)
            yield self._segment("logs", branch, lines, len(logs))

    def _segment(self, kind: Kind, branch: Branch, content: bytes, rows: int) -> Segment:
        key = self._header.key
        path = segment_path(kind, branch, self._header.time, key)
        return Segment(key, kind, branch, path, content, rows)

    def _predictions(self, branch: Branch) -> Rows:
        kept = [(place, request, 1.0) for place, request in self._kept.get(branch, ())]
        if branch in self._samples:
            sampled, weight = self._samples[branch].kept()
            kept += [(place, request, weight) for place, request in sampled]
        kept.sort(key=lambda entry: entry[0])
        rows = Rows(PREDICTION_COLUMNS)
        for _, request, weight in kept:
            self._add_rows(rows, request, weight)
        return rows

    def _add_rows(self, rows: Rows, request: Request, weight: float) -> None:
        schema = self._schemas.get(request.fingerprint, _UNKNOWN)
        features = features_of(request, self._header, schema.columns)
        for row in range(request.rows):
            prediction = _at(request.predictions, row)
            rows.add(
                request.ts,
                request.request_id,
                row,
                request.branch,
                request.commit,
                request.fingerprint,
                request.assigned,
                request.reason,
                request.unit or "",
                _number(request.propensity),
                request.epoch,
                request.status,
                _number(request.latency_ms),
                _json(prediction),
                _number(score_of(prediction, _at(request.probabilities, row), schema.classes)),
                _number(weight),
                features[row],
            )

    def _all_logs(self) -> dict[Branch, list[Log]]:
        """Bad lines are reported on every branch of the chunk: they could have been anyone's."""
        logs = {branch: list(records) for branch, records in self._logs.items()}
        for branch in {*logs, *self._kept, *self._samples, *self._decisions}:
            for bad in self.bad:
                report = Log(
                    ts=self._header.opened,
                    branch=str(branch),
                    level="error",
                    message=f"{bad.where}: not a record, left out: {bad.reason}",
                    logger="gateway.chunks",
                )
                logs.setdefault(branch, []).append(report)
        return logs


def _at(values: list[msgspec.Raw] | None, row: int) -> bytes | None:
    return bytes(values[row]) if values is not None and row < len(values) else None


def _json(value: bytes | None) -> str:
    """JSON null is the empty field: the word would turn a column of numbers into one of text."""
    if value is None or value == b"null":
        return ""
    return msgspec.json.format(value, indent=-1).decode()


def _number(value: float | None) -> str:
    """Always with a point or exponent, so that no file's column is one of whole numbers."""
    return "" if value is None else repr(float(value))


def _log_line(record: Log) -> bytes:
    fields: dict[str, str | None] = {
        "ts": record.ts,
        "branch": record.branch,
        "commit": record.commit,
        "level": record.level,
        "logger": record.logger,
        "message": record.message,
        "request_id": record.request_id,
    }
    return msgspec.json.encode(fields) + b"\n"
