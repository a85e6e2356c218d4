"""Durations, sizes and the other small texts of gateway.yaml, parsed into plain values."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from gateway.names import Branch, InvalidName

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "MB": 1000**2}

#: Far beyond any use, and within what timers, dates and file sizes can hold.
_MOST_SECONDS = 36500 * 86400.0
_MOST_BYTES = 1024.0**5


def _quantity(value: Any, units: dict[str, float] | dict[str, int], example: str) -> float:
    names = ", ".join(units)
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", value.strip())
        if match and match[2] in units:
            return float(match[1]) * units[match[2]]
    raise ValueError(f"must be a number with a unit of {names}, such as {example}")


def _seconds(value: Any) -> float:
    seconds = _quantity(value, _SECONDS, "30s")
    if not 0 < seconds <= _MOST_SECONDS:
        raise ValueError("must be more than 0 and at most 36500d, such as 30s")
    return seconds


def _bytes(value: Any) -> int:
    size = _quantity(value, _BYTES, "1MiB")
    if not 1 <= size <= _MOST_BYTES:
        raise ValueError("must be at least 1B and at most 1048576GiB, such as 1MiB")
    return int(size)


def _branch(value: Any) -> Branch:
    if not isinstance(value, str):
        raise ValueError("must be the name of a git branch, in quotes if it looks like a number")
    try:
        return Branch(value)
    except InvalidName:
        raise ValueError("must be a git branch name") from None


Seconds = Annotated[float, BeforeValidator(_seconds), Field(json_schema_extra={"unit": "seconds"})]
ByteSize = Annotated[int, BeforeValidator(_bytes), Field(json_schema_extra={"unit": "bytes"})]
BranchName = Annotated[Branch, BeforeValidator(_branch)]
