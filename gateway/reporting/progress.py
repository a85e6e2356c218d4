"""How far a long run is: a bar where somebody looks at it, and else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import click

#: Seconds before anything is shown, and between two looks on a terminal and in a log.
_QUIET, _REDRAWN, _LOGGED = 0.5, 0.1, 5.0
_BAR = 30


class Line:
    """A line on standard error, drawn over on a terminal; seconds say how rarely it is shown.

    `quiet` is before the first on a terminal, `redrawn` between two there, `logged` in a log.
    """

    def __init__(
        self,
        *,
        terminal: bool,
        quiet: float,
        redrawn: float,
        logged: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.terminal = terminal
        self._wait = quiet if terminal else logged
        self._again = redrawn if terminal else logged
        self._clock = clock
        self._shown = clock()
        self._is_drawn = False

    def show(self, text: str) -> None:
        """This now, unless something was shown just before."""
        now = self._clock()
        if now < self._shown + self._wait:
            return
        self._shown, self._wait, self._is_drawn = now, self._again, True
        terminal = self.terminal
        click.echo(f"\r\x1b[K{text}" if terminal else text, nl=not terminal, err=True)

    def clear(self) -> None:
        """For the last word to stand alone."""
        if self._is_drawn and self.terminal:
            click.echo("\r\x1b[K", nl=False, err=True)


class Progress:
    """One run's, on standard error; what is short shows nothing."""

    def __init__(self, *, terminal: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._line = Line(
            terminal=terminal, quiet=_QUIET, redrawn=_REDRAWN, logged=_LOGGED, clock=clock
        )
        self._done = self._of = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._line.clear()

    def reading(self, segments: int) -> None:
        """While rows are looked for, of which nobody knows where they end."""
        self._line.show(f"looking for rows: {segments:,} segments read")

    def expect(self, rows: int) -> None:
        """So many rows are going to be computed."""
        self._done, self._of = 0, rows

    def advance(self, rows: int) -> None:
        """So many more are."""
        self._done += rows
        share = min(1.0, self._done / self._of) if self._of else 1.0
        full = int(share * _BAR)
        bar = f"[{'#' * full}{'-' * (_BAR - full)}] " if self._line.terminal else ""
        self._line.show(f"{bar}{share:4.0%}  {self._done:,} of {self._of:,} rows computed")
