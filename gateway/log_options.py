"""The options of commands that run for long: what is logged, and in what form."""

from __future__ import annotations

import click

log_format = click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    help="Form of the log on standard error; auto is text on a terminal, else JSON lines.",
)
log_level = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="The least important lines that are logged.",
)
