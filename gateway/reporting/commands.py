"""`gateway drift` and `gateway report`: they ask a running gateway, and speak for people."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import time
from typing import Any, NoReturn, TypeVar

import click

from gateway.errors import GatewayError, StateError
from gateway.names import Branch, InvalidName
from gateway.reporting.document import RANKS
from gateway.reporting.fetching import Pages, Refused, certificate_in, url_in
from gateway.reporting.terminal import terminal
from gateway.statistics.verdict import Severity

#: Holds the API key, for a gateway that wants one.
KEY_VARIABLE = "GATEWAY_KEY"

_Command = TypeVar("_Command", bound=Callable[..., Any] | click.Command)


def config_file(says: str, metavar: str | None = None) -> Callable[[_Command], _Command]:
    """The option `--config`, a command's `file`: gateway.yaml unless another is named."""
    return click.option(
        "--config",
        "file",
        metavar=metavar,
        type=click.Path(path_type=Path),
        default=Path("gateway.yaml"),
        show_default=True,
        help=says,
    )


def asking(url: str | None, file: Path) -> Pages:
    """The gateway at `url`, or where `file` says, asked with the key of the environment."""
    environ: Mapping[str, str] = click.get_current_context().obj or {}
    key = environ.get(KEY_VARIABLE, "").strip() or None
    if url is not None:
        return Pages(url, key)
    return Pages(url_in(file), key, trusted=certificate_in(file))


_branch = click.argument("branch")
_url = click.option("--url", help="The gateway, such as http://127.0.0.1:8080; else FILE says it.")
_file = config_file("The file whose `listen` says where the gateway is.")


@click.command()
@_branch
@_url
@_file
@click.option("--all", "whole", is_flag=True, help="Every column, not the 20 worst alone.")
@click.option(
    "--fail-on",
    type=click.Choice(["warn", "alert", "critical"]),
    help="Exit code 1 from this severity on, for CI; a broken split counts, models that differ"
    " do not.",
)
def drift(branch: str, url: str | None, file: Path, whole: bool, fail_on: Severity | None) -> None:
    """Show how far the rows of BRANCH drifted, as its running gateway says.

    Beside each column stand its distribution in the reference and, after the bar, that of the last
    window. Exit codes: 0, 1 as --fail-on says, 2 if the gateway could not be asked.
    """
    try:
        found = asking(url, file).drift(Branch(branch))
    except (InvalidName, GatewayError) as error:
        fail(error)
    echo(terminal(found, shutil.get_terminal_size((120, 24)).columns, whole=whole))
    sys.exit(fail_on is not None and found.rank >= RANKS[fail_on])


@click.command()
@_branch
@_url
@_file
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    default=Path("report.html"),
    show_default=True,
    help="The page; - is stdout.",
)
def report(branch: str, url: str | None, file: Path, output: Path) -> None:
    """Write the drift of BRANCH as one HTML page that needs no network.

    It shows what changed most, each column then and now, and over the windows that are published.
    """
    from gateway.reporting.history import parse_history
    from gateway.reporting.page import featured, page

    try:
        name = Branch(branch)
        pages = asking(url, file)
        found = pages.drift(name)
        trouble = None
        try:
            columns = {one.column for one in featured(found)}
            history = parse_history(pages.history(name), columns)
        except Refused as error:
            history, trouble = {}, str(error)
    except (InvalidName, GatewayError) as error:
        fail(error)
    content = page(found, history, written=time(), trouble=trouble).encode()
    if output == Path("-"):
        sys.stdout.buffer.write(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        fail(StateError(f"cannot be written: {error.strerror}", where=str(output)))
    click.echo(f"{output} is written", err=True)


def echo(text: str) -> None:
    """To a terminal in colour; what its encoding lacks becomes question marks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, errors="replace").decode(encoding), nl=False)


def fail(error: Exception) -> NoReturn:
    """Exit code 2, with the error's own words."""
    click.echo(str(error), err=True)
    sys.exit(2)
