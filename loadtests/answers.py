"""The form of an answer, whoever gave it."""

from __future__ import annotations

from typing import Any

import msgspec


class BadAnswer(Exception):
    """An answer that is none: another status than 200, another form, another number of rows."""


class Said(msgspec.Struct, frozen=True):
    """A good answer's body."""

    predictions: list[Any]
    request_id: str
    branch: str
    commit: str
    probabilities: list[Any] | None = None


def said(status: int, body: bytes, commit: str | None, rows: int) -> Said:
    """The answer to so many rows; `commit` is what its header names. BadAnswer where it is none."""
    if status != 200:
        raise BadAnswer(f"status {status}: {body[:200].decode(errors='replace')}")
    try:
        found = msgspec.json.decode(body, type=Said)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadAnswer(f"an answer of another form: {error}") from None
    if found.commit != commit or not found.branch or not found.request_id:
        raise BadAnswer(f"header and body disagree about the commit: {commit} and {found.commit}")
    parts = (found.predictions, found.probabilities)
    given = [len(part) for part in parts if part is not None]
    if any(count != rows for count in given):
        raise BadAnswer(f"{rows} rows were asked for, {given} answered")
    return found
