"""How long a branch takes for a frame just now: what cannot be in time any more is not begun."""

from __future__ import annotations

#: Quick to believe a fast frame, slow to believe a slow one: what is refused for it would cost
#: an answer, and one slow frame says little about the next.
_FASTER, _SLOWER = 0.5, 0.2
#: Under overload every job is taken as late as it may be, so half of them would just miss.
_MARGIN = 1.5


class Pace:
    """An estimate that follows the frames' times. Pure: told, never asks a clock."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds = 0.0

    def took(self, seconds: float) -> None:
        """One frame was answered after so long."""
        off = seconds - self._seconds
        self._seconds += off * (_SLOWER if off > 0 else _FASTER)

    @property
    def need(self) -> float:
        """The time that a job must still have for its answer to be in time."""
        return _MARGIN * self._seconds
