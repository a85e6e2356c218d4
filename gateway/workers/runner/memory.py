"""How much memory this process may have, and whether an error means that it was too little."""

from __future__ import annotations

import errno
import resource
import sys

from . import texts

#: On Linux everything a process can write to that is its own; elsewhere the nearest there is.
_KIND = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
#: What libraries say instead of MemoryError.
_WORDS = ("cannot allocate memory", "failed to map segment", "can't start new thread")


class Limit:
    """A bound in bytes on this process, from now on for ever; None is no bound."""

    def __init__(self, most: int | None) -> None:
        self._given = most is not None
        if most is not None:
            known = [
                bound for bound in resource.getrlimit(_KIND) if bound != resource.RLIM_INFINITY
            ]
            bound = min([most, *known])
            resource.setrlimit(_KIND, (bound, bound))

    def explains(self, error: BaseException) -> bool:
        """Whether the error, or one behind it, came from a lack of memory, as far as it shows."""
        if isinstance(error, MemoryError) or not self._given:
            return isinstance(error, MemoryError)
        seen: set[int] = set()
        behind: BaseException | None = error
        while behind is not None and id(behind) not in seen:
            seen.add(id(behind))
            if isinstance(behind, MemoryError) or getattr(behind, "errno", None) == errno.ENOMEM:
                return True
            said = texts.described(behind, withhold=False).lower()
            if any(words in said for words in _WORDS):
                return True
            behind = behind.__cause__ or behind.__context__
        return False
