"""`gateway feedback import`: a file of outcomes, sent to a running gateway in batches."""

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TextIO

import click

from gateway.errors import GatewayError, StateError
from gateway.experiments.feedback import Judged
from gateway.reporting.commands import asking, config_file, fail
from gateway.reporting.fetching import Pages, Refused, Unreachable
from gateway.reporting.outcome_rows import REASON, OutcomeFile, OutcomeRow
from gateway.reporting.progress import Line

#: Rows in one request, and bytes of them, unless a single one is larger.
BATCH_ROWS = 500
BATCH_BYTES = 256 * 1024
#: Seconds before each further try.
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
_LONGEST_WAIT = 30.0
#: Statuses that waiting may help against.
_AGAIN = frozenset({408, 429, 502, 503, 504})
_TOO_LARGE = 413
#: Seconds between two lines of progress, on a terminal and in a log.
_REDRAWN, _LOGGED = 0.25, 5.0
_INTERRUPTED = 130


@click.group()
def feedback() -> None:
    """Tell a running gateway what became of its predictions.

    \b
      gateway feedback import outcomes.csv

    One by one they go to POST /feedback.
    """


@feedback.command("import")
@click.argument("table", metavar="FILE.csv", type=click.Path(path_type=Path))
@click.option("--url", help="The gateway, such as http://127.0.0.1:8080; else --config.")
@config_file("The file whose `listen` says where the gateway is.", metavar="FILE")
@click.option("--metric", metavar="NAME", help="The metric of all rows, if no column says it.")
def import_outcomes(table: Path, url: str | None, file: Path, metric: str | None) -> None:
    """Send the outcomes in FILE.csv, of any size, to a running gateway.

    Its first line names the columns: request_id, metric, value or label, and if you like row and
    ts. A label that is JSON is taken as such, any other text as it stands. Rows that the gateway
    calls invalid go to FILE.rejected.csv, with the reason.

    To send a file again is safe, also after an interruption: an outcome counts once.

    Exit codes: 0, 1 if a row was invalid, 2 if the file could not be read or the gateway not be
    asked.
    """
    try:
        pages = asking(url, file)
        with OutcomeFile(table, metric) as rows, closing(Rejected(table, rows)) as rejected:
            importing = Importing(pages, rows, rejected)
            try:
                importing.run()
            except KeyboardInterrupt:
                click.echo(f"\n{importing.said()}", err=True)
                click.echo("interrupted: to send the whole file again is safe", err=True)
                sys.exit(_INTERRUPTED)
    except GatewayError as error:
        fail(error)
    click.echo(importing.said())
    if importing.counts["invalid"]:
        click.echo(f"the invalid ones are in {rejected.path}, with the reason")
    sys.exit(importing.counts["invalid"] > 0)


class Rejected:
    """The file beside the table for rows that are no outcomes; none is made if there are none."""

    def __init__(self, table: Path, rows: OutcomeFile) -> None:
        self.path = table.with_name(f"{table.name.removesuffix('.csv')}.rejected.csv")
        self._rows = rows
        self._file: TextIO | None = None

    def add(self, row: OutcomeRow, reason: str) -> None:
        header = self._rows.header
        known = header.index(REASON) if REASON in header else None
        fields = [*row.fields, *[""] * (len(header) - len(row.fields))]
        if known is not None:
            header = header[:known] + header[known + 1 :]
            fields = fields[:known] + fields[known + 1 :]
        with self._naming():
            if self._file is None:
                self._file = self.path.open(
                    "w", encoding="utf-8", errors="surrogateescape", newline=""
                )
                csv.writer(self._file).writerow([*header, REASON])
            csv.writer(self._file).writerow([*fields, reason])

    def close(self) -> None:
        if self._file is not None:
            with self._naming():
                self._file.close()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"cannot be written: {error.strerror}"
            raise StateError(message, where=str(self.path)) from None


class Importing:
    """One import under way: what was sent, and what the gateway said of it."""

    def __init__(self, pages: Pages, rows: OutcomeFile, rejected: Rejected) -> None:
        self.counts: Counter[str] = Counter()
        self._pages = pages
        self._rows = rows
        self._rejected = rejected
        self._begun = time.monotonic()
        self._line = Line(
            terminal=sys.stderr.isatty(), quiet=_REDRAWN, redrawn=_REDRAWN, logged=_LOGGED
        )

    def run(self) -> None:
        if self._rows.unused:
            names = ", ".join(self._rows.unused).encode(errors="replace").decode()
            click.echo(f"columns that are not read: {names}", err=True)
        for batch in self._batches():
            self._send(batch)
            self._show()
        self._line.clear()

    def said(self) -> str:
        """How far it is, in one line."""
        rows = self.counts.total()
        parts = [f"{self.counts[word]:,} {word}" for word in ("accepted", "late", "invalid")]
        rate = rows / max(time.monotonic() - self._begun, 1e-3)
        return f"{rows:,} row{'s' * (rows != 1)}: {', '.join(parts)} ({rate:,.0f} rows/s)"

    def _show(self) -> None:
        part = self._rows.part
        text = self.said() if part is None else f"{part:4.0%}  {self.said()}"
        self._line.show(text)

    def _batches(self) -> Iterator[list[OutcomeRow]]:
        batch: list[OutcomeRow] = []
        size = 0
        for row in self._rows:
            if row.reason:
                self._reject(row, row.reason)
                continue
            if batch and (len(batch) == BATCH_ROWS or size + len(row.item) > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(row)
            size += len(row.item)
        if batch:
            yield batch

    def _send(self, batch: list[OutcomeRow]) -> None:
        try:
            judged = self._asked(batch)
        except Refused as error:
            if error.status != _TOO_LARGE:
                raise
            if len(batch) == 1:
                self._reject(batch[0], error.message)
                return
            middle = len(batch) // 2
            self._send(batch[:middle])
            self._send(batch[middle:])
            return
        for row, one in zip(batch, judged, strict=True):
            if one.status == "invalid":
                self._reject(row, one.reason or "")
            else:
                self.counts[one.status] += 1

    def _asked(self, batch: list[OutcomeRow]) -> list[Judged]:
        """The gateway's word on each, asked for again and again while waiting may help."""
        items = [row.item for row in batch]
        for usual in WAITS:
            wait = usual
            try:
                return self._pages.feedback(items)
            except Unreachable as error:
                said = str(error)
            except Refused as error:
                if error.status not in _AGAIN:
                    raise
                said, wait = str(error), max(usual, min(error.retry_after, _LONGEST_WAIT))
            click.echo(f"{said}; tried again in {wait:g} s", err=True)
            time.sleep(wait)
        return self._pages.feedback(items)

    def _reject(self, row: OutcomeRow, reason: str) -> None:
        self.counts["invalid"] += 1
        self._rejected.add(row, reason)
