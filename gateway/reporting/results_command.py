"""`gateway results`: which branch is better, by a running gateway or by the repository alone."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from gateway.config import CredentialsConfig
from gateway.errors import GatewayError
from gateway.experiments.document import ExperimentReadout
from gateway.names import Branch, InvalidName
from gateway.reporting.commands import asking, echo, fail
from gateway.reporting.document import parsed
from gateway.reporting.fetching import operator_in
from gateway.reporting.results_markdown import markdown
from gateway.reporting.results_terminal import terminal
from gateway.repositories.credentials import open_credentials
from gateway.repositories.gitprocess import environment_of
from gateway.repositories.kind import folder_of, located

if TYPE_CHECKING:
    from gateway.reporting.results_repository import Recomputed

_DEFAULT_FILE = Path("gateway.yaml")


@click.command()
@click.argument("branch", required=False)
@click.option("--url", help="The gateway, such as http://127.0.0.1:8080; else FILE says it.")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The file whose `listen` says where the gateway is.  [default: gateway.yaml]",
)
@click.option(
    "--repository",
    metavar="URL",
    help="Ask no gateway: recompute it from the rows in this repository, with the credentials of"
    " --config, if given.",
)
@click.option("--json", "as_json", is_flag=True, help="The document itself.")
@click.option("--markdown", "as_markdown", is_flag=True, help="For a comment on a pull request.")
@click.option("--all", "whole", is_flag=True, help="Also content that is served no more, in full.")
@click.option(
    "--fail-on",
    "failing",
    multiple=True,
    type=click.Choice(["worse", "breached", "invalid"]),
    help="Exit code 1, for CI, if a candidate is this now: its primary metric worse, a guardrail"
    " breached, its split invalid. May be given several times.",
)
@click.pass_obj
def results(
    environ: Mapping[str, str],
    branch: str | None,
    url: str | None,
    file: Path | None,
    repository: str | None,
    as_json: bool,
    as_markdown: bool,
    whole: bool,
    failing: tuple[str, ...],
) -> None:
    """Say which branch is better: of BRANCH, or of every candidate beside the baseline.

    It may be asked at any time and as often as one likes: intervals and p allow for that. "Not
    decided yet" is not "no effect".

    Exit codes: 0, 1 as --fail-on says, 2 if it could not be found out.
    """
    if url and repository:
        raise click.UsageError("--url asks a gateway; --repository none")
    if as_json and as_markdown:
        raise click.UsageError("Give --json or --markdown, not both.")
    try:
        candidate = Branch(branch) if branch is not None else None
        if repository is not None:
            document = _recomputed(repository, candidate, file, environ)
            body = msgspec.json.encode(document)
        else:
            pages = asking(url, file or _DEFAULT_FILE)
            body, where = pages.experiment(candidate)
            document = parsed(body, where, ExperimentReadout, "read-out")
    except (InvalidName, GatewayError) as error:
        fail(error)
    if as_json:
        echo(json.dumps(json.loads(body), indent=2) + "\n")
    elif as_markdown:
        echo(markdown(document, whole=whole))
    else:
        echo(terminal(document, shutil.get_terminal_size((120, 24)).columns, whole=whole))
    sys.exit(bool(_found(document).intersection(failing)))


def _recomputed(
    repository: str, candidate: Branch | None, file: Path | None, environ: Mapping[str, str]
) -> ExperimentReadout:
    from gateway.reporting.results_repository import of_repository

    known = operator_in(file).credentials if file is not None else CredentialsConfig()
    address = located(repository, [candidate] if candidate else [])
    return of_repository(
        folder_of(address) or address,
        candidate,
        _of_rows,
        environment_of(environ),
        open_credentials(known, environ),
    )


def _of_rows(texts: Iterable[tuple[str, str]]) -> Recomputed:
    """By the code that the monitor reads sums out with; it brings numpy."""
    from gateway.experiments.recomputed import recomputed
    from gateway.experiments.rows import parse_rows
    from gateway.reporting.results_repository import Recomputed

    found = parse_rows(texts)
    contrasts = recomputed(found.rows)
    newest = contrasts[0].contrast if contrasts else None
    salts = {row.contrast.salt for row in found.rows if row.contrast.id == newest}
    bad = [f"{one.where}: {one.reason}" for one in found.bad]
    return Recomputed(contrasts, salts.pop() if salts else "", bad)


def _found(document: ExperimentReadout) -> set[str]:
    """What --fail-on may ask for, of what is served now; secondary metrics promise nothing."""
    found = set()
    for one in document.contrasts:
        if not one.current:
            continue
        if one.status == "worse":
            found.add("worse")
        if any(guardrail.breached for guardrail in one.guardrails):
            found.add("breached")
        if one.status == "invalid" or (one.sample_ratio and one.sample_ratio.mismatch):
            found.add("invalid")
    return found
