"""`python -m loadtests`: run the users of locustfile.py, headless or with locust's page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")


@click.command(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "ignore_unknown_options": True,
    }
)
@click.option("--web", is_flag=True, help="Start nothing by itself; show locust's page.")
@click.option("--port", default=8089, show_default=True, help="Of locust's page.")
@click.option("--users", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option(
    "--seconds", type=click.IntRange(1, 3600), default=60, show_default=True, help="Headless."
)
@click.argument("more", nargs=-1, type=click.UNPROCESSED)
def main(web: bool, port: int, users: int, seconds: int, more: tuple[str, ...]) -> None:
    """Load a gateway as its users would; further arguments go to locust.

    \b
      --host URL      a gateway that runs already; without it, a demonstration of its own
      --folder PATH   where that lives (default: .load)
      --pause S       seconds between two happenings in it (default: 5)
      --merges N      end when N merges are in force; fail if the time is over before

    Exit codes: 0 every answer was right, 1 one was not, 2 it could not begin.
    """
    command = [sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE)]
    command += ["--users", str(users), "--spawn-rate", str(users), "--stop-timeout", "30"]
    if web:
        command += ["--web-host", "127.0.0.1", "--web-port", str(port)]
    else:
        command += ["--headless", "--run-time", f"{seconds}s", "--only-summary"]
    os.execv(sys.executable, [*command, *more])


if __name__ == "__main__":
    main()
