"""`python -m loadtests.replicas`: three replicas beside three gateways alone, and REPLICAS.md."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from loadtests.bench.machine import machine
from loadtests.replicas.client import requests
from loadtests.replicas.measures import Bench
from loadtests.replicas.page import page
from loadtests.replicas.setting import Group, Server, Trouble
from loadtests.repository import DidNotLand

_ROOT = Path(".bench")
_PAGE = Path(__file__).parent.parent / "REPLICAS.md"
_COUNT = 3


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--rounds", type=click.IntRange(1, 50), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5, 60), default=3.0, show_default=True)
@click.option(
    "--deaths", type=click.IntRange(1, 50), default=5, show_default=True, help="Of holders."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_PAGE,
    help="The page to write (default: loadtests/REPLICAS.md).",
)
def main(rounds: int, seconds: float, deaths: int, output: Path) -> None:
    """Measure replicas on one Redis; print and write the page. The exit code is 1 if one failed."""
    folder = (_ROOT / "replicas").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    before = machine()
    server = Server()
    try:
        with (
            Group(folder / "shared", _COUNT, server) as shared,
            Group(folder / "alone", _COUNT, None) as alone,
        ):
            bench = Bench(
                shared, alone, server, requests(), seconds, lambda text: click.echo(text, err=True)
            )
            figures = bench.run(rounds, deaths)
    except (Trouble, DidNotLand) as trouble:
        click.echo(f"it could not be measured: {trouble}", err=True)
        sys.exit(1)
    finally:
        server.end()
    text = page(figures, before, server.version, seconds)
    output.write_text(text)
    click.echo(text)
    sys.exit(1 if figures.refused else 0)


if __name__ == "__main__":
    main()
