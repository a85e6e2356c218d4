"""`python -m loadtests.soak`: soak a gateway, print the figures and write SOAK.md."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.errors import GatewayError
from loadtests.bench.places import alone
from loadtests.repository import DidNotLand
from loadtests.soak.report import page, terminal
from loadtests.soak.run import Options, Soak, soak

_HERE = Path(__file__).parent.parent


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--minutes", type=click.FloatRange(0.25, 600), default=10.0, show_default=True)
@click.option("--seed", type=int, help="Of the schedule and the questions; without it, a new one.")
@click.option("--clients", type=click.IntRange(1, 200), default=8, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_HERE / "SOAK.md",
    help="The page to write (default: loadtests/SOAK.md).",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".soak"),
    show_default=True,
    help="Where the repository, the state and the logs are; made anew each time.",
)
def main(minutes: float, seed: int | None, clients: int, output: Path, root: Path) -> None:
    """Soak a gateway: users, merges, kills and overload; then an audit of all it wrote.

    Exit codes: 0 all was recorded once and nothing grew, 1 not so, 2 it could not begin.
    """
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    if not alone(root):
        click.echo(f"another soak runs in {root}", err=True)
        sys.exit(2)
    folder = root / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    options = Options(minutes * 60, secrets.randbelow(10**6) if seed is None else seed, clients)
    click.echo(f"{minutes:g} minutes with --seed {options.seed}, in {folder}")
    began = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        found = asyncio.run(_interruptible(options, folder))
    except (DidNotLand, GatewayError) as error:
        click.echo(f"it could not begin: {error}", err=True)
        sys.exit(2)
    if found is None:
        click.echo("Interrupted; every process is ended, nothing is written.", err=True)
        sys.exit(130)
    output.write_text(page(found, began))
    click.echo(f"\n{terminal(found)}\n\n{output} is written")
    sys.exit(1 if found.all_problems() else 0)


async def _interruptible(options: Options, folder: Path) -> Soak | None:
    """None where a signal came first."""
    task = asyncio.ensure_future(soak(options, folder, click.echo))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    return None


if __name__ == "__main__":
    main()
