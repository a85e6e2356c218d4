"""`gateway hold` and `gateway release`: an operator's word about a branch, left for the monitor."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gateway import operating
from gateway.access.keys_file import LOCAL
from gateway.errors import GatewayError
from gateway.names import Branch, InvalidName
from gateway.operating import PATIENCE, Action
from gateway.reporting.commands import asking, config_file, echo, fail
from gateway.reporting.fetching import operator_in

_branch = click.argument("branch")
_file = config_file("The file whose `state_dir` is the gateway's.")
_url = click.option(
    "--url", help="A gateway elsewhere, such as https://gateway.example; GATEWAY_KEY is the key."
)
_reason = click.option(
    "--reason", default="", metavar="TEXT", help="Why, for decisions, the log and /branches."
)


@click.command()
@_branch
@click.option("--out", is_flag=True, help="Give it no users at all, whatever it serves.")
@_reason
@_url
@_file
def hold(branch: str, out: bool, reason: str, url: str | None, file: Path) -> None:
    """Keep BRANCH at the share of the users that it has: its ramp and a bandit stop there.

    With --out it has none; only its own users move. It holds until `gateway release BRANCH`, or
    until the branch's weight or ramp in gateway.yaml is edited. A breached guardrail ejects it
    all the same. Run it where the gateway runs, as a user who may write its `state_dir`, or from
    anywhere with --url and a key of scope operate in GATEWAY_KEY.

    Exit codes: 0 once it is in force, 1 if no gateway took it, 2 if it makes no sense.
    """
    _tell("hold", branch, file, reason, url, out=out)


@click.command()
@_branch
@_reason
@_url
@_file
def release(branch: str, reason: str, url: str | None, file: Path) -> None:
    """Let BRANCH go on: ends a hold, an ejection, and whatever holds its ramp at present.

    What is known to speak against its content does not eject it again; as much again does. A ramp
    whose branch was ejected begins at its first step.

    Exit codes: 0 once it is in force, 1 if no gateway took it, 2 if it makes no sense.
    """
    _tell("release", branch, file, reason, url)


def _tell(
    action: Action, branch: str, file: Path, reason: str, url: str | None, *, out: bool = False
) -> None:
    try:
        if url is not None:
            echo(asking(url, file).operate(Branch(branch), action, reason, out=out) + "\n")
            return
        state_dir = operator_in(file).state_dir
        sent = operating.send(state_dir, action, branch, by=LOCAL, reason=reason, out=out)
        taken = operating.within(PATIENCE, lambda: operating.is_taken(state_dir, sent))
        outcome = "taken" if taken else operating.withdraw(state_dir, sent)
        if outcome in ("withdrawn", "unknown"):
            late = f"{state_dir}: no gateway took it within {PATIENCE:g} s"
            why = "it is withdrawn: is the gateway running?"
            click.echo(
                f"{late}, and {operating.UNKNOWN if outcome == 'unknown' else why}", err=True
            )
            sys.exit(1)
        if outcome == "coming":
            echo(f"{branch}: {operating.COMING}\n")
            return
        order = operating.order_of(state_dir, branch)
    except (InvalidName, GatewayError) as error:
        fail(error)
    echo(operating.in_words(branch, order) + "\n")
