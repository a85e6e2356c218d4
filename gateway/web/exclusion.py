"""Which requests are no users: health checks, monitors and crawlers, told by their headers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate

from gateway.web.units import Headers, decoded

#: Verdicts remembered for each header, of values up to so many bytes. Longer ones are judged by
#: their beginning, each time: whoever sends them must not cost more than others.
_VERDICTS, _LONGEST = 1024, 512


class Exclusion:
    """The configured patterns, compiled once."""

    def __init__(self, patterns: Mapping[str, Sequence[str]]) -> None:
        self._rules = {
            name.lower().encode("latin-1"): _Rule(globs) for name, globs in patterns.items()
        }

    def covers(self, headers: Headers) -> bool:
        """Whether any value of any header has one of its patterns."""
        rules = self._rules
        if rules:
            for name, value in headers:
                rule = rules.get(name)
                if rule is not None and rule.covers(value):
                    return True
        return False


class _Rule:
    """All patterns of one header, and what they said of its last values."""

    __slots__ = ("_matches", "_verdicts")

    def __init__(self, globs: Sequence[str]) -> None:
        pattern = "|".join(map(translate, globs))
        self._matches = re.compile(pattern, re.IGNORECASE).match
        self._verdicts: dict[bytes, bool] = {}

    def covers(self, value: bytes) -> bool:
        known = self._verdicts.get(value)
        if known is None:
            known = self._matches(decoded(value[:_LONGEST])) is not None
            if len(value) <= _LONGEST:
                if len(self._verdicts) >= _VERDICTS:
                    self._verdicts.clear()
                self._verdicts[value] = known
        return known
