"""`python -m loadtests.bench`: run the race and write its page."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click
import msgspec

from loadtests.bench import wrk
from loadtests.bench.lineup import BY_NAME
from loadtests.bench.machine import machine
from loadtests.bench.places import MODELS, Missing, alone
from loadtests.bench.race import OutOfTime, Race, clear
from loadtests.bench.records import Options, Results
from loadtests.bench.report import page

_HERE = Path(__file__).parent.parent
_CONNECTIONS = (1, 8, 32, 64)


def _names(known: tuple[str, ...]) -> click.ParamType[tuple[str, ...]]:
    class Names(click.ParamType[tuple[str, ...]]):
        name = "names"

        def convert(
            self, value: object, param: click.Parameter | None, ctx: click.Context | None
        ) -> tuple[str, ...]:
            if isinstance(value, tuple):
                return value
            given = tuple(part.strip() for part in str(value).split(","))
            unknown = [part for part in given if part not in known]
            if unknown:
                self.fail(f"{', '.join(unknown)}; there are: {', '.join(known)}", param, ctx)
            # In the order that is known: the page is then the same however they were named.
            return tuple(part for part in known if part in given)

    return Names()


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--quick", is_flag=True, help="A smoke run: 1 round of 1 s, first settings only.")
@click.option(
    "--only",
    type=_names(tuple(BY_NAME)),
    default=tuple(BY_NAME),
    help=f"Some servers, with commas between. There are: {', '.join(BY_NAME)}.",
)
@click.option(
    "--models",
    type=_names(tuple(MODELS)),
    default=tuple(MODELS),
    help=f"Some models. There are: {', '.join(MODELS)}.",
)
@click.option("--rounds", type=click.IntRange(1, 99), default=5, show_default=True)
@click.option(
    "--seconds", type=click.IntRange(1, 60), default=4, show_default=True, help="Of each run."
)
@click.option(
    "--bound",
    type=click.IntRange(1, 600),
    default=150,
    show_default=True,
    help="Minutes after which it stops, and reports what it has; installing is not counted.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_HERE / "RESULTS.md",
    help="The page to write (default: loadtests/RESULTS.md).",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".bench"),
    show_default=True,
    help="Where environments, models and the last figures are kept.",
)
@click.option("--report", is_flag=True, help="Only write the page again, from the last figures.")
def main(
    quick: bool,
    only: tuple[str, ...],
    models: tuple[str, ...],
    rounds: int,
    seconds: int,
    bound: int,
    output: Path,
    root: Path,
    report: bool,
) -> None:
    """Race the gateway against its peers on this machine, and write RESULTS.md.

    Exit codes: 0 all was measured, 1 a server failed, answered wrongly or erred, or time ran out;
    2 it could not begin.
    """
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    figures = root / "figures.json"
    if report:
        try:
            results = Results.read(figures)
        except (OSError, msgspec.MsgspecError) as error:
            click.echo(f"{figures}: no figures of a race: {error}", err=True)
            sys.exit(2)
        output.write_text(page(results))
        sys.exit(0)
    if (reason := wrk.available()) is not None:
        click.echo(reason, err=True)
        sys.exit(2)
    if not alone(root):
        click.echo(f"another race runs in {root}; the figures of both would be wrong", err=True)
        sys.exit(2)
    options = Options(
        models,
        only,
        (1, 32) if quick else _CONNECTIONS,
        1 if quick else rounds,
        1 if quick else seconds,
        1 if quick else 2,
        quick,
    )
    sys.exit(_race(options, root, figures, output, bound))


def _race(options: Options, root: Path, figures: Path, output: Path, bound: int) -> int:
    os.chdir(root)  # what a server drops where it stands is dropped here
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    clear(root)
    results = Results(_now(), machine(), options)
    race = Race(results, root, time.monotonic() + bound * 60, click.echo)
    try:
        race.run()
    except OutOfTime:
        results.problems.append(f"stopped after {bound} minutes; what follows is what there was")
    except Missing as error:
        results.problems.append(f"the race could not go on: {error}")
    except KeyboardInterrupt:
        click.echo("Interrupted; every server is ended, nothing is written.", err=True)
        return 130
    results.ended = _now()
    results.write(figures)
    output.write_text(page(results))
    click.echo(f"{output} is written")
    for problem in results.problems:
        click.echo(f"PROBLEM {problem}", err=True)
    return 1 if results.problems else 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Once: a second one would interrupt the end of the servers, which has a bound of its own.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
