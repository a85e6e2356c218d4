"""Values of Python, numpy and pandas as JSON would have them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any

_JSON = {type(None), bool, int, float, str, list, dict}


def plain_values(values: Sequence[Any]) -> list[Any]:
    """Values of Python, numpy and pandas as JSON would have them; NaN may stay."""
    if set(map(type, values)) <= _JSON:
        return list(values)
    return [plain(value) for value in values]


def plain(value: Any) -> Any:
    """One value as JSON would have it: dates as ISO 8601, decimals as numbers; NaN may stay."""
    if type(value) in _JSON:
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if callable(listed := getattr(value, "tolist", None)):
        inner = listed()
        return inner if type(inner) in _JSON else plain(inner)
    return str(value)


def clean(value: Any) -> Any:
    """The value as JSON can hold it: what is no finite number is null, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(inner) for inner in value]
    return plain(value)
