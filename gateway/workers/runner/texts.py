"""JSON in and out, by msgspec where the branch's environment has it, and texts for people.

In: NaN, infinities and numbers beyond float64 are refused. Out: what is not finite becomes null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn, Optional, Union

WITHHELD = "the values are withheld by monitoring.redact or monitoring.features"
_QUOTED = 80


def shown(value: object) -> str:
    """A value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= _QUOTED else text[: _QUOTED - 1] + "…"


def described(error: BaseException, *, withhold: bool) -> str:
    """An exception for a message: its type and, unless withheld, the start of its text."""
    name = type(error).__name__
    if withhold:
        return f"{name}: {WITHHELD}"
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its text cannot be shown)"
    if len(text) > 2 * _QUOTED:
        text = text[: 2 * _QUOTED - 1] + "…"
    return f"{name}: {text}" if text else name


def plain(value: Any) -> Any:
    """The JSON-ready form of a numpy scalar or array, a pandas object or a set."""
    for name in ("tolist", "to_list"):
        method = getattr(value, name, None)
        if callable(method):
            return method()
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is out of range")
    return number


def _without_constants(text: bytes) -> Any:
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _cleaned(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(item) for item in value]
    return _cleaned(plain(value))


def _with_nulls(value: Any) -> bytes:
    return json.dumps(_cleaned(value), separators=(",", ":"), ensure_ascii=False).encode()


decode: Callable[[bytes], Any] = _without_constants
encode: Callable[[Any], bytes] = _with_nulls
#: Decodes rows that are all numbers, booleans and nulls; anything else is an exception.
decode_numbers: Callable[[bytes], list[Any]] | None = None


def quicken() -> None:
    """Use msgspec from here on, if it is installed: a branch's own environment need not have it."""
    global decode, encode, decode_numbers
    try:
        import msgspec.json as fast
    except ImportError:
        return
    number = Optional[Union[float, bool]]  # as Python 3.9 has it
    decode = fast.Decoder().decode
    encode = fast.Encoder(enc_hook=plain).encode
    decode_numbers = fast.Decoder(list[Union[list[number], dict[str, number]]]).decode
