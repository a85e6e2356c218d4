"""`python -m loadtests.drift PART`: measure one part, and write DRIFT.md with all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from loadtests.bench.machine import machine
from loadtests.drift import comparison, monitored, simulation, throughput
from loadtests.drift.page import page
from loadtests.drift.records import Compared, Figures, Part, Tables, Throughput

_HERE = Path(__file__).parent.parent
_SIZES = (50, 100, 200, 500, 1_000)
_SEED = 20


def _say(text: str) -> None:
    click.echo(f"  {text}", err=True)


def _part(*distributions: str) -> Part:
    begun = datetime.now(UTC).isoformat(timespec="minutes")
    return Part(begun, machine(), {name: version(name) for name in distributions})


def tables(figures: Figures, _root: Path, runs: int) -> None:
    """Simulate false alarms and power."""
    part = _part("branch-gateway", "numpy", "scipy")
    started = time.monotonic()
    _say("windows without drift, by every rule")
    alarms = [*simulation.false_alarms(runs, _SEED, _SIZES)]
    _say("users who come again")
    users = [*simulation.repeated_users(runs, _SEED)]
    _say("every kind of column")
    kinds = [*simulation.every_kind(max(10, runs // 4), _SEED, (100, 1_000, 50_000))]
    _say("power")
    power = [*simulation.power(runs, _SEED, (100, 300, 1_000, 10_000))]
    part.seconds = time.monotonic() - started
    figures.tables = Tables(part, _SEED, alarms, users, kinds, power)


def bench(figures: Figures, _root: Path, _runs: int) -> None:
    """Measure rows a second."""
    part = _part("branch-gateway", "numpy", "scipy")
    started = time.monotonic()
    lines = [*throughput.measured(_say), *monitored.measured(_say)]
    part.seconds = time.monotonic() - started
    figures.bench = Throughput(part, lines)


def compare(figures: Figures, root: Path, _runs: int) -> None:
    """Ask Evidently and NannyML as well."""
    part = _part("branch-gateway", "scikit-learn")
    started = time.monotonic()
    found = comparison.compared(root, _say)
    part.seconds = time.monotonic() - started
    figures.compare = Compared(part, found)


PARTS: dict[str, Callable[[Figures, Path, int], None]] = {
    "tables": tables,
    "bench": bench,
    "compare": compare,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("parts", nargs=-1, required=True, type=click.Choice([*PARTS, "report"]))
@click.option(
    "--runs",
    type=click.IntRange(10, 100_000),
    default=400,
    show_default=True,
    help="Windows simulated for each cell of the tables.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_HERE / "DRIFT.md",
    help="The page to write (default: loadtests/DRIFT.md).",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".drift"),
    show_default=True,
    help="Where environments and the last figures are kept.",
)
def main(parts: tuple[str, ...], runs: int, output: Path, root: Path) -> None:
    """Measure PARTS of what is said of drift: tables, bench, compare; print and write DRIFT.md.

    `report` only writes the page again, from the last figures.
    """
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    kept = root / "figures.json"
    figures = Figures.read(kept)
    for name in parts:
        if name in PARTS:
            PARTS[name](figures, root, runs)
            figures.write(kept)
    text = page(figures)
    output.write_text(text)
    click.echo(text)
    click.echo(f"{output} is written", err=True)


if __name__ == "__main__":
    main()
