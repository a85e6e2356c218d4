"""`gateway explain`: says why a user gets a branch, by a file or by a running gateway."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import click

from gateway.config.sections import MOST_WEIGHT
from gateway.errors import GatewayError, StateError
from gateway.explaining import explain as explain_split
from gateway.names import Branch, Unit
from gateway.reporting.commands import asking, echo, fail
from gateway.reporting.explained import At, Explained, facts, words
from gateway.reporting.fetching import operator_in
from gateway.reporting.standing import Standing, standing_in
from gateway.reporting.widths import plain
from gateway.state import known_unit_key

_DEFAULT_FILE = Path("gateway.yaml")
#: A name may hold `=` and `,` itself.
_WEIGHT = re.compile(r"\s*(.+?)\s*=\s*([^=,]*?)\s*(?:,|$)")


@click.command()
@click.argument("unit")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The file that says the split.  [default: gateway.yaml]",
)
@click.option(
    "--in-repository", is_flag=True, help="FILE is one that --config-branch reads from a branch."
)
@click.option(
    "--running", is_flag=True, help="Ask the gateway that listens where FILE says, not FILE."
)
@click.option("--url", help="Ask this gateway, such as http://127.0.0.1:8080.")
@click.option(
    "--at", metavar="BRANCH=WEIGHT,…", help="Would it move with these weights? Others stay."
)
@click.option("--json", "as_json", is_flag=True, help="The same as one JSON object.")
@click.pass_obj
def explain(
    environ: Mapping[str, str],
    unit: str,
    file: Path | None,
    in_repository: bool,
    running: bool,
    url: str | None,
    at: str | None,
    as_json: bool,
) -> None:
    """Say why UNIT, a user's id as requests carry it, gets its branch, and what would move it.

    FILE alone is asked, whatever a gateway may have in force, unless --running or --url names a
    gateway; then that is asked alone, and says too who answers for the branch right now. How the
    user stands in recorded rows is told where FILE is read and its key can be: with --url, only if
    --config is given as well.

    Headers are not looked at: a request that `exclude` covers goes to the baseline, whosever it is.

    Exit codes: 0, 2 if what is asked cannot be read, or makes no sense.
    """
    if in_repository and (running or url):
        raise click.UsageError("--in-repository reads FILE; --running and --url ask a gateway")
    if running and url:
        raise click.UsageError("--running asks the gateway that FILE names; --url another one")
    unit = _as_sent(unit)
    path = file or _DEFAULT_FILE
    try:
        if running or url:
            standing = asking(url, path).standing()
        else:
            standing = standing_in(path, in_repository=in_repository)
        with_key = file if url else None if in_repository else path
        recorded, why_not = _recorded(unit, with_key, environ)
    except GatewayError as error:
        fail(error)
    found = Explained(
        unit=unit,
        standing=standing,
        found=explain_split(standing.split, unit) if unit else None,
        recorded=recorded,
        not_recorded=why_not,
        at=_at(unit, at, standing) if at is not None else None,
    )
    if as_json:
        echo(json.dumps(facts(found), indent=2) + "\n")
    else:
        echo(words(found, shutil.get_terminal_size((100, 24)).columns))


def _as_sent(argument: str) -> str:
    """The id as the gateway reads it of a header's bytes: UTF-8, or else Latin-1."""
    sent = os.fsencode(argument)
    try:
        return sent.decode()
    except UnicodeDecodeError:
        return sent.decode("latin-1")


def _recorded(
    unit: str, file: Path | None, environ: Mapping[str, str]
) -> tuple[Unit | None, str | None]:
    """The unit in rows of the gateway of `file`, or why there is none to be told."""
    if not unit:
        return None, "a request without an id has none"
    if file is None:
        return None, "the key of unit hashes belongs to the operator, and no file of theirs is read"
    operator = operator_in(file)
    try:
        return Unit.keyed(unit, known_unit_key(operator.state_dir, operator, environ)), None
    except StateError as error:
        return None, str(error)


def _at(unit: str, text: str, standing: Standing) -> At:
    known = [*standing.split.weights, *standing.shadows]
    weights = _weights(text, known)
    try:
        split = standing.weighted(weights)
    except ValueError:
        raise _wrong(f"at least one branch must have a weight above 0. Given: {text!r}") from None
    return At(weights, split.propensities, explain_split(split, unit) if unit else None)


def _weights(text: str, known: Collection[Branch]) -> dict[Branch, float]:
    """What `prod=50,exp=50` says."""
    weights: dict[Branch, float] = {}
    place = 0
    while place < len(text) or not weights:
        match = _WEIGHT.match(text, place)
        if match is None:
            raise _wrong(f"must be BRANCH=WEIGHT,… such as prod=50,exp=50. Given: {text!r}")
        name, given = match.groups()
        if name not in known:
            raise _wrong(f"no branch {name!r} is served; there are: {plain(', '.join(known))}")
        branch = Branch(name)
        if branch in weights:
            raise _wrong(f"must name a branch once. Given: {branch!r} again")
        weights[branch] = _weight(branch, given)
        place = match.end()
    return weights


def _weight(branch: Branch, given: str) -> float:
    try:
        weight = float(given)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= MOST_WEIGHT:
        most = f"must be a number from 0 to {MOST_WEIGHT}"
        raise _wrong(f"the weight of {branch!r} {most}. Given: {given!r}")
    return weight


def _wrong(message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint="--at")
