"""How a contrast stands: one word, and the reason for it as a sentence. STATISTICS §3.4."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateway.statistics.effects import Effect
from gateway.statistics.paired import Paired
from gateway.statistics.rates import RateRatio
from gateway.statistics.sample_ratio import SampleRatio
from gateway.statistics.sequences import ALPHA, CannotSay, Interval

Word = Literal["insufficient", "running", "better", "worse", "equivalent", "invalid", "stale"]
Direction = Literal["up", "down"]
Finding: TypeAlias = Effect | RateRatio | Paired


@dataclass(frozen=True, slots=True)
class Standing:
    """The word of one contrast. Only `better` and `worse` say that the branches differ."""

    word: Word
    reason: str


def standing(
    finding: Finding | CannotSay,
    sample_ratio: SampleRatio | CannotSay,
    *,
    direction: Direction = "up",
    margin: float | None = None,
    alpha: float = ALPHA,
    p: float | None = None,
    stale: str | None = None,
    lift: Interval | CannotSay | None = None,
) -> Standing:
    """The first that holds of: invalid, stale, insufficient, better or worse, equivalent, running.

    `direction`: where the metric ought to go. `margin`: a relative difference that would not
    matter, 0.02 for two percent; None is never equivalent. `p`: the smallest always-valid p so
    far, this look's included, where the caller kept it; all of one method, as another's smallest
    would be another chance to err. `stale`: what changed since, as a clause; None if nothing did.
    `lift`: what is held against the margin in place of the finding's own relative interval, as that
    of a rate ratio never gets as narrow as a margin is.
    """
    if isinstance(sample_ratio, SampleRatio) and sample_ratio.mismatch:
        return Standing("invalid", _mismatch(sample_ratio))
    if stale is not None:
        return Standing("stale", f"This is of content that is served no more: {stale}.")
    if isinstance(finding, CannotSay):
        return Standing("insufficient", f"Too early to say: {finding.reason}.")
    found = _found(finding, finding.relative, alpha)
    least = finding.p if p is None else p
    relative = finding.relative if lift is None else lift
    if least <= alpha and finding.direction:
        good = finding.direction == (1 if direction == "up" else -1)
        word: Word = "better" if good else "worse"
        but = ", though by less than the margin" if _inside(relative, margin) else ""
        when = "" if finding.p <= alpha else ", as an earlier look decided"
        return Standing(word, f"The candidate is {word}{but}{when}: {found}.")
    if margin is not None and _inside(relative, margin):
        found = _found(finding, relative, alpha)
        within = f"any difference is less than the margin of {margin * 100:.3g} %"
        return Standing("equivalent", f"As good as equal, since {within}: {found}.")
    return Standing("running", f"Not decided yet, which does not mean no effect: {found}.")


def _mismatch(sample_ratio: SampleRatio) -> str:
    chance = "e^" + format(-sample_ratio.log_e, ".3g")
    return (
        f"The {sample_ratio.units:,} units did not fall on the branches as their weights say "
        f"(by chance at most {chance}): look for what loses or moves units before any result."
    )


def _inside(relative: Interval | CannotSay, margin: float | None) -> bool:
    return margin is not None and isinstance(relative, Interval) and relative.within(margin)


def _found(finding: Finding, relative: Interval | CannotSay, alpha: float) -> str:
    sure = f"{100 * (1 - alpha):.4g} % interval"
    if isinstance(relative, Interval):
        one, shown = relative, _percent
    else:
        # Only a difference of means can have nothing to be relative to.
        assert not isinstance(finding, RateRatio)
        one, shown = finding.difference, "{:+.4g}".format
    return f"{shown(one.estimate)} ({sure} {shown(one.low)} to {shown(one.high)})"


def _percent(part: float) -> str:
    """Two decimals at most, as in tables of them."""
    if math.isinf(part):
        return "without bound"
    percent = part * 100
    decimals = 2 if abs(percent) < 10 else 1 if abs(percent) < 100 else 0
    number = f"{percent:+.{decimals}f}"
    return f"{number.rstrip('0').rstrip('.') if decimals else number} %"
