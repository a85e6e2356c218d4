"""`python -m loadtests.experiments`: simulate every promise, and write EXPERIMENTS.md."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

import click

from loadtests.experiments.page import SECTIONS, broken, page
from loadtests.experiments.records import Cell

_HERE = Path(__file__).parent.parent
SEED = 20


def cells_of(name: str, runs: int, seed: int) -> tuple[list[Cell], float]:
    """Of one table, and the seconds it took."""
    started = time.monotonic()
    return [*SECTIONS[name].simulated(runs, seed)], time.monotonic() - started


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--runs",
    type=click.IntRange(10, 100_000),
    default=2_000,
    show_default=True,
    help="Experiments simulated for each cell; half of them where one takes long.",
)
@click.option("--seed", type=int, default=SEED, show_default=True, help="Another, another page.")
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Choice([*SECTIONS]),
    help="Only this table; several may be given.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_HERE / "EXPERIMENTS.md",
    help="The page to write (default: loadtests/EXPERIMENTS.md).",
)
@click.option("--processes", type=click.IntRange(1, 64), default=2, show_default=True)
def main(runs: int, seed: int, tables: tuple[str, ...], output: Path, processes: int) -> None:
    """Simulate what is promised of experiments, beside usual methods; print and write the page.

    The exit code is 1 if a promise is not kept.
    """
    names = [name for name in SECTIONS if not tables or name in tables]
    found = {}
    with ProcessPoolExecutor(processes) as pool:
        jobs = {name: pool.submit(cells_of, name, runs, seed) for name in names}
        for name, job in jobs.items():
            found[name], seconds = job.result()
            click.echo(f"  {SECTIONS[name].title}: {seconds:.0f} s", err=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy"))
    text = page(found, runs, seed, versions)
    output.write_text(text)
    click.echo(text)
    click.echo(f"{output} is written", err=True)
    sys.exit(1 if broken(found) else 0)


if __name__ == "__main__":
    main()
