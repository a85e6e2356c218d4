"""`gateway plan`: how long an experiment will take, before it is started, in plain words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.statistics.planning import Size

#: The same question has the same answer.
_SEED = 1
_METHODS = {
    "exact": "the exact method for rates",
    "asymptotic": "the confidence sequence for means",
}


class _Number(click.types.FloatParamType):
    """A number between two others, if there are any, that is neither infinite nor none at all."""

    name = "number"

    def __init__(self, above: float | None = None, below: float | None = None) -> None:
        self._range = click.FloatRange(above, below, min_open=True, max_open=True)
        self._range.name = self.name

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        number = float(self._range.convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


@click.command()
@click.option("--baseline-rate", type=_Number(0, 1), help="The baseline's rate, such as 0.1.")
@click.option(
    "--mean", type=_Number(), help="In its place: the baseline's mean, of a number a unit."
)
@click.option("--sd", type=_Number(0), help="With --mean: its standard deviation.")
@click.option(
    "--lift",
    type=_Number(),
    required=True,
    help="The smallest change that would matter, as a part: 0.15 is from 10 % to 11.5 %.",
)
@click.option(
    "--daily-units",
    type=click.IntRange(min=1),
    required=True,
    help="Units (users) a day, of both branches, that were not there before.",
)
@click.option(
    "--share", type=_Number(0, 1), default=0.5, show_default=True, help="The candidate's part."
)
@click.option(
    "--alpha",
    type=_Number(0, 0.5),
    default=0.05,
    show_default=True,
    help="How often a difference may be claimed where there is none.",
)
@click.option(
    "--power",
    type=_Number(0, 1),
    default=0.8,
    show_default=True,
    help="How often an experiment of the fixed size is to see the change.",
)
def plan(
    baseline_rate: float | None,
    mean: float | None,
    sd: float | None,
    lift: float,
    daily_units: int,
    share: float,
    alpha: float,
    power: float,
) -> None:
    """Say how many units and days it takes to tell a candidate from the baseline.

    Of a rate (--baseline-rate), or of a number that each unit has (--mean and --sd). One may look
    at a running experiment at any time; beside it stands the size of a test with a single look.
    """
    if lift == 0:
        raise click.BadParameter("must not be 0: no experiment shows that.", param_hint="--lift")
    rules = {"share": share, "alpha": alpha, "power": power}
    try:
        if mean is not None and sd is not None and baseline_rate is None:
            size, question = _of_mean(mean, sd, lift, rules)
        elif baseline_rate is not None and mean is None and sd is None:
            size, question = _of_rate(baseline_rate, lift, rules)
        else:
            raise click.UsageError("Give either --baseline-rate, or --mean and --sd.")
    except GatewayError as error:
        raise click.BadParameter(f"{error}. Given: {lift:g}.", param_hint="--lift") from error
    click.echo(_said(size, f"{question} ({lift * 100:+.4g} %)", daily_units, rules))


def _of_rate(baseline: float, lift: float, rules: dict[str, float]) -> tuple[Size, str]:
    candidate = baseline * (1 + lift)
    if not 0 < candidate < 1:
        raise click.BadParameter(
            f"must leave the candidate a rate between 0 and 1. Given: {lift:g}, which makes"
            f" {baseline:g} into {candidate:.4g}.",
            param_hint="--lift",
        )
    import numpy as np

    from gateway.statistics.planning import size_of_rates

    size = size_of_rates(baseline, candidate, np.random.default_rng(_SEED), **rules)
    return size, f"A rate of {_percent(baseline)} against one of {_percent(candidate)}"


def _of_mean(mean: float, sd: float, lift: float, rules: dict[str, float]) -> tuple[Size, str]:
    if mean == 0:
        raise click.BadParameter(
            "must not be 0, since --lift is a part of it.", param_hint="--mean"
        )
    import numpy as np

    from gateway.statistics.planning import size_of_means

    size = size_of_means(mean * lift, sd, np.random.default_rng(_SEED), **rules)
    return size, f"A mean of {mean:g} against one of {mean * (1 + lift):g}"


def _said(size: Size, question: str, daily_units: int, rules: dict[str, float]) -> str:
    from gateway.statistics.planning import RUNS

    rows = [
        ("looking at any time, half are decided within", _about(size.half)),
        ("looking at any time, nine in ten within", _about(size.most)),
        (f"looking only once, power {rules['power']:g}", _about(size.fixed)),
    ]
    wide = max(len(f"{units:,}") for _, units in rows)
    lines = [f"{question}, with {_percent(rules['share'])} of the units on the candidate:", ""]
    for name, units in rows:
        days = math.ceil(units / daily_units)
        lines.append(f"  {name:<46}{units:>{wide},} units  {days:,} day{'s' * (days != 1)}")
    false = _percent(rules["alpha"])
    lines += [
        "",
        f"At any time: by {_METHODS[size.method]}, in {RUNS:,} simulated experiments.",
        f"Where there is no difference, at most {false} of experiments claim one, however often",
        "one looks; the rest stay undecided, so set a day on which to stop. A unit counts on its",
        "first day: it takes longer where many of a day's units have been there before.",
    ]
    return "\n".join(lines)


def _about(units: int) -> int:
    """Three figures: simulations tell no more, and nor do the rates that one plans with."""
    return int(float(f"{units:.3g}"))


def _percent(part: float) -> str:
    return f"{part * 100:.4g} %"
