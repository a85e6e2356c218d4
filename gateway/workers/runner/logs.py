"""Warnings and errors that branch code logs, sent to the parent at a bounded rate."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from . import texts

_SAME_TEXT_SECONDS = 60.0
_MOST_A_MINUTE = 100
_LONGEST = 2000


class ToParent(logging.Handler):
    """Sends each record once a minute at most, and a hundred records a minute at most."""

    def __init__(self, send: Callable[[dict[str, str]], None], *, withhold: bool) -> None:
        super().__init__(logging.WARNING)
        self._send = send
        self._withhold = withhold
        self._window = 0.0
        self._sent: dict[str, float] = {}
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = self._text(record)
            if self._admit(f"{record.name}\0{message}"):
                level = "error" if record.levelno >= logging.ERROR else "warning"
                self._send({"level": level, "logger": record.name, "message": message})
        except Exception:
            self.handleError(record)

    def _text(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        if self._withhold:
            kind = type(error).__name__ if error else "message"
            return f"{kind} at {record.filename}:{record.lineno}; {texts.WITHHELD}"
        text = record.getMessage()
        if error is not None:
            text += f"\n{texts.described(error, withhold=False)}"
        return text.strip()[:_LONGEST]

    def _admit(self, text: str) -> bool:
        now = time.monotonic()
        if now - self._window >= _SAME_TEXT_SECONDS:
            self._window = now
            dropped, self._dropped = self._dropped, 0
            self._sent.clear()
            if dropped:
                words = f"{dropped} log records of the last minute were dropped"
                self._send({"level": "warning", "logger": "gateway", "message": words})
        if text in self._sent or len(self._sent) >= _MOST_A_MINUTE:
            self._dropped += 1
            return False
        self._sent[text] = now
        return True


class Held(logging.Handler):
    """Keeps the records of a worker that has no branch yet."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.records) < _MOST_A_MINUTE:
            self.records.append(record)


def hold() -> None:
    """Keep what reaches the root logger, and Python's own warnings, until `capture`."""
    _listen(Held())


def capture(send: Callable[[dict[str, str]], None], *, withhold: bool) -> None:
    """Send what reaches the root logger, and Python's own warnings, to the parent."""
    root = logging.getLogger()
    held = [handler for handler in root.handlers if isinstance(handler, Held)]
    _listen(ToParent(send, withhold=withhold))
    for handler in held:
        root.removeHandler(handler)
        for record in handler.records:
            root.handle(record)


def _listen(handler: logging.Handler) -> None:
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.addHandler(handler)
