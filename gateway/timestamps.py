"""Unix time as the text that stands in every row, log line and answer."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds: 2026-11-23T10:00:00.123Z."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
