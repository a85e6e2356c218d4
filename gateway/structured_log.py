"""The gateway's own log: one JSON object a line on standard error, with branch and request id."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime
from typing import Any

from gateway.timestamps import rfc3339

#: Fields a call may pass by `extra=`; anything else stays out of the line.
FIELDS = ("branch", "commit", "request_id", "keeper", "who", "what", "address", "result")


class JsonFormatter(logging.Formatter):
    """`ts`, `level`, `logger`, `message`, then the fields that were given."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((f, getattr(record, f)) for f in FIELDS if hasattr(record, f))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """For a terminal: time, level and message, the fields behind."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        fields = [f"{f}={getattr(record, f)}" for f in FIELDS if hasattr(record, f)]
        text = f"{moment} {record.levelname.lower():7} {_indented(record.getMessage())}"
        text += f"  ({', '.join(fields)})" if fields else ""
        return text + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def configure(form: str, level: str) -> None:
    """Set the process up once: `form` is json, text, or auto (text on a terminal)."""
    handler = logging.StreamHandler(sys.stderr)
    as_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Its access lines cost a quarter of the speed; the journal and metrics say more.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def _indented(message: str) -> str:
    """Further lines stand in from the first: none can pass for a line of ours."""
    return message.replace("\n", "\n    ")
