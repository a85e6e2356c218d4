"""EXPERIMENTS.md from the cells: what was measured beside what was promised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from loadtests.experiments import canaries, expected, pairs, peeking, ramps, split, thompson, users
from loadtests.experiments.records import Cell, Promise

_INTRODUCTION = """# Experiments

Written by `make experiment-tables`; what is done stands in [README.md](README.md). Error rates and
other promises of the read-out, simulated with the gateway's own code (`gateway/statistics`), beside
the figure of STATISTICS §3.2, §3.3 or §4 where it has one. (A) is the confidence sequence of means,
(B) the exact ratio of rates, (C) the check of the split, (D) the guardrail. ± is one standard error
of the simulation. A promise is kept up to three of them; a median, up to a tenth or to one besides.
Methods in *italics* are not ours, or ours misused: the same is asked of them, and most break it.
"""


@dataclass(frozen=True)
class Section:
    """A table. `simulated` makes its cells of a number of runs and a seed."""

    title: str
    text: str
    simulated: Callable[[int, int], Iterator[Cell]]
    figures: Mapping[tuple[str, str], float]


SECTIONS: Mapping[str, Section] = {
    "peeking": Section(
        "No effect, looked at 200 times",
        "20,000 units. Share of experiments in which a look finds a difference at .05.",
        peeking.looked_at,
        expected.PEEKED,
    ),
    "events": Section(
        "No effect, and what the least events are for",
        "As above, with the default of planned units. The last: four contrasts, 150 looks.",
        peeking.with_the_least_events,
        expected.PEEKED,
    ),
    "intervals": Section(
        "A real effect: intervals that leave it out",
        "20,000 units, 200 looks. Share of experiments in which any interval leaves out the truth.",
        peeking.intervals,
        expected.INTERVALS,
    ),
    "power": Section(
        "A real effect: units until it is seen",
        "Median of the units of both arms, 200 looks. A canary of 5 % with 1.5 % of events has\n"
        "the least events of (A), 25, after 33,000 units: that is why (B) decides on events.",
        peeking.found,
        expected.POWER,
    ),
    "users": Section(
        "Users who come again",
        "No effect. 3,000 users arrive, each with its own rate and some ten requests; 60 looks.",
        users.returning,
        expected.USERS,
    ),
    "ramps": Section(
        "Ramps while the rate moves for everyone",
        "From 5 % to 50 % the rate goes from 10 to 13 %: 40,000 units, 100 looks. Over five steps\n"
        "it goes 10, 12, 9, 11, 13 %: 70,000 units, of which 40,000 in the last, 140 looks.",
        ramps.ramps,
        expected.RAMPS,
    ),
    "split": Section(
        "Does the split do what the weights say?",
        "A candidate that is to get a tenth of 100,000 units; 200 looks.",
        split.split,
        expected.SPLIT,
    ),
    "canaries": Section(
        "Canaries",
        "5 % of 60,000 requests, or of 12,000 from ten times on; a look each 20. The fixed\n"
        "thresholds are Flagger's: of each 1,000 requests 99 % of the canary's must succeed,\n"
        "and five failed checks roll back.",
        canaries.canaries,
        expected.CANARIES,
    ),
    "retries": Section(
        "Users who try again",
        "Of both arms alike, their errors in any order. Share of canaries that are rolled back.",
        users.retrying,
        expected.RETRIES,
    ),
    "bandit": Section(
        "Weights that adapt",
        "No effect at 10 %; 40 batches of 500 units. While weights adapt, (B) alone is reported.",
        thompson.bandits,
        expected.BANDIT,
    ),
    "pairs": Section(
        "Shadows, by pairs",
        "Two branches that predict every labelled row, beside labels that speak of one of them.",
        pairs.pairs,
        expected.PAIRS,
    ),
}


def page(found: Mapping[str, Sequence[Cell]], runs: int, seed: int, versions: str) -> str:
    """The whole of it; the same for the same arguments, wherever it was run."""
    lines = [_INTRODUCTION, f"Seed {seed}, {runs:,} runs at most; {versions}.\n", _verdict(found)]
    for name, cells in found.items():
        section = SECTIONS[name]
        lines += [f"## {section.title}\n", f"{section.text}\n", *_table(cells, section.figures)]
    return "\n".join(lines)


def broken(found: Mapping[str, Sequence[Cell]]) -> list[Cell]:
    """Promises of ours that are not kept."""
    return [one for cells in found.values() for one in cells if one.ours and one.kept is False]


def _verdict(found: Mapping[str, Sequence[Cell]]) -> str:
    promised = sum(one.ours and one.kept is not None for cells in found.values() for one in cells)
    not_kept = broken(found)
    if not not_kept:
        return f"All {promised} promises are kept.\n"
    which = "; ".join(f"{one.method}, {one.setting}" for one in not_kept)
    return f"**{len(not_kept)} of {promised} promises are not kept**: {which}.\n"


def _table(cells: Sequence[Cell], figures: Mapping[tuple[str, str], float]) -> Iterator[str]:
    yield "| setting | method | STATISTICS | measured | ± | runs | promised | |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    for one in cells:
        figure = figures.get((one.setting, one.method))
        columns = [
            one.setting,
            one.method if one.ours else f"*{one.method}*",
            "" if figure is None else number(figure),
            number(one.measured),
            number(one.error) if one.error else "",
            f"{one.runs:,}" if one.runs > 1 else "",
            _promised(one.promise),
            _mark(one),
        ]
        yield f"| {' | '.join(columns)} |"
    yield ""


def number(value: float) -> str:
    """A share as `.031`, a count as `7,200`, and what is never reached."""
    if math.isinf(value):
        return "never"
    if abs(value) >= 1.5:
        return f"{value:,.0f}" if abs(value) >= 20 else f"{value:.3g}"
    if not value:
        return "0"
    shown = f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.5f}"
    return shown.replace("0.", ".", 1) if abs(value) < 1 else shown


def _promised(promise: Promise | None) -> str:
    if promise is None:
        return ""
    return f"{'≥' if promise.kind == 'at least' else '≤'} {number(promise.value)}"


def _mark(one: Cell) -> str:
    if one.kept is None:
        return ""
    if one.ours:
        return "kept" if one.kept else "**NOT KEPT**"
    return "" if one.kept else "breaks it"
