"""`gateway replay`: what was answered, computed again by its own commit or by another branch."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click
import msgspec

from gateway.config import Config, LimitsConfig, OperatorConfig
from gateway.config.addresses import is_address
from gateway.config.trust import TrustConfig
from gateway.errors import GatewayError
from gateway.names import Branch, InvalidName, RequestId
from gateway.replaying.bringing import Source, opened
from gateway.replaying.comparing import TOLERANCE
from gateway.replaying.document import Comparison, Replay
from gateway.replaying.engine import How, Replayed, replay, replay_by
from gateway.replaying.finding import Finder, Looked
from gateway.replaying.recorded import Recorded
from gateway.replaying.starting import Starting
from gateway.replaying.summary import summed
from gateway.reporting.commands import echo, fail
from gateway.reporting.fetching import operator_in
from gateway.reporting.progress import Progress
from gateway.reporting.replay_markdown import comparison_markdown, replay_markdown
from gateway.reporting.replay_terminal import comparison_terminal, replay_terminal
from gateway.repositories.credentials import Credentials, open_credentials
from gateway.repositories.gitprocess import environment_of
from gateway.repositories.kind import located
from gateway.timestamps import rfc3339

_DEFAULT_FILE = Path("gateway.yaml")
_LAST = 1000
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line wants of the rows."""

    branch: Branch | None
    last: int
    of: tuple[Branch, ...]
    by: tuple[str, ...]
    largest: int


@click.command("replay")
@click.argument("request_id", required=False)
@click.option(
    "--branch", metavar="BRANCH", help="Have this branch, as it is now, compute recorded rows."
)
@click.option(
    "--last",
    type=click.IntRange(min=1),
    metavar="ROWS",
    help=f"The newest so many rows.  [default with --branch: {_LAST}]",
)
@click.option(
    "--of",
    multiple=True,
    metavar="BRANCH",
    help="Only rows that this branch answered. May be given several times.",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Changes by the values of a column. May be given several times. Without it, by the"
    " columns that go most with what changed.",
)
@click.option(
    "--largest",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="ROWS",
    help="How many of the largest changes are named.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=TOLERANCE,
    show_default=True,
    help="Numbers that are closer are the same, as they are or as a share of themselves.",
)
@click.option(
    "--fail-above",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Exit code 1, for CI, if --branch changes more predictions, or has no answer to them.",
)
@click.option(
    "--environment",
    type=click.Choice(["gateway", "branch"]),
    help="What models run on, whatever FILE says of their branches: the libraries here, or each"
    " commit's own by its lock.  [default: as FILE says, else gateway]",
)
@click.option(
    "--repository", metavar="URL", help="The repository, in place of the one that FILE names."
)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The gateway.yaml: repository, credentials, models by name, and the state_dir whose"
    " snapshots help where the repository has a commit no more.  [default: gateway.yaml]",
)
@click.option("--json", "as_json", is_flag=True, help="The document itself.")
@click.option("--markdown", "as_markdown", is_flag=True, help="For a comment on a pull request.")
@click.pass_obj
def replay_rows(
    environ: Mapping[str, str],
    request_id: str | None,
    branch: str | None,
    last: int | None,
    of: tuple[str, ...],
    by: tuple[str, ...],
    largest: int,
    tolerance: float,
    fail_above: float | None,
    environment: str | None,
    repository: str | None,
    file: Path | None,
    as_json: bool,
    as_markdown: bool,
) -> None:
    """Compute again what was answered, from the repository alone; no gateway need run.

    \b
      gateway replay REQUEST_ID                  the same answer, by the same commit?
      gateway replay --last 1000                 the same of the newest rows, each by its commit
      gateway replay --branch exp --last 1000    what would exp have answered to them?

    Models run as branches' code does where they serve: each in a process of its own.

    Exit codes: 0 the same, or with --branch: compared; 1 different, or as --fail-above says; 2 it
    could not be found out.
    """
    _check(request_id, branch, last, fail_above, as_json=as_json, as_markdown=as_markdown)
    try:
        asked = _Asked(
            Branch(branch) if branch else None,
            last or _LAST,
            tuple(map(Branch, of)),
            by,
            largest,
        )
        source, how = _settings(repository, file, environment, tolerance, asked, environ)
        with Progress(terminal=sys.stderr.isatty()) as progress:
            if request_id is not None:
                found: Replay | Comparison = _one(RequestId(request_id), source, how, progress)
            else:
                found = _many(asked, source, how, progress)
    except (InvalidName, GatewayError) as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    echo(_shown(found, as_json=as_json, as_markdown=as_markdown))
    sys.exit(_code(found, fail_above))


def _check(
    request_id: str | None,
    branch: str | None,
    last: int | None,
    fail_above: float | None,
    *,
    as_json: bool,
    as_markdown: bool,
) -> None:
    if request_id is not None and (branch is not None or last is not None):
        raise click.UsageError("REQUEST_ID is one request; --branch and --last are for many.")
    if request_id is None and branch is None and last is None:
        raise click.UsageError("Give a REQUEST_ID, or --last ROWS, or --branch BRANCH.")
    if fail_above is not None and branch is None:
        raise click.UsageError("--fail-above goes with --branch.")
    if as_json and as_markdown:
        raise click.UsageError("Give --json or --markdown, not both.")


def _settings(
    repository: str | None,
    file: Path | None,
    environment: str | None,
    tolerance: float,
    asked: _Asked,
    environ: Mapping[str, str],
) -> tuple[Source, How]:
    config: OperatorConfig | None = None
    if repository is None or file is not None:
        config = operator_in(file or _DEFAULT_FILE)
    branches = config.branches if isinstance(config, Config) else {}
    named = [*branches, *asked.of, *([asked.branch] if asked.branch else [])]
    address = repository or (config.repository if config is not None else "")
    if not is_address(address):
        address = str(Path(address).absolute())
    credentials = Credentials()
    if config is not None:
        credentials = open_credentials(config.credentials, environ)
    source = Source(
        located(address, named),
        environment_of(environ),
        credentials,
        config.state_dir / "snapshots" if config is not None else None,
        config.limits.snapshot_bytes if config is not None else LimitsConfig().snapshot_bytes,
        {name: branch.model for name, branch in branches.items() if branch.model},
        config.trust if config is not None else TrustConfig(),
    )
    starting = Starting(branches, environment, environ)
    if config is not None:
        kept = config.state_dir / "environments"
        starting = replace(
            starting, sandbox=config.sandbox, environments=config.environments, kept=kept
        )
    how = How(
        starting.launch,
        branches=branches,
        limits=config.limits if config is not None else LimitsConfig(),
        tolerance=tolerance,
        redact=config.monitoring.redact if config is not None else (),
        trust=source.trust,
    )
    return source, how


def _one(request_id: RequestId, source: Source, how: How, progress: Progress) -> Replay:
    with opened(source) as (published, bringer):
        finder = Finder(published, progress.reading)
        requests = finder.request(request_id)
        progress.expect(sum(len(one.rows) for one in requests))
        found = asyncio.run(replay(requests, bringer, how, progress.advance))
    return Replay(
        request_id,
        how.tolerance,
        tuple(found.rows),
        tuple(found.computers),
        _warnings(finder.looked),
    )


def _many(asked: _Asked, source: Source, how: How, progress: Progress) -> Comparison:
    with opened(source) as (published, bringer):
        branch = asked.branch
        # First: that it cannot be had must not be said after a long search.
        brought = bringer.tip(branch, how.of(branch).model) if branch is not None else None
        finder = Finder(published, progress.reading)
        requests = finder.newest(asked.last, asked.of, without=branch)
        progress.expect(sum(len(one.rows) for one in requests))
        if brought is not None:
            found = asyncio.run(replay_by(brought, requests, how, progress.advance))
        else:
            found = asyncio.run(replay(requests, bringer, how, progress.advance))
    return _summed(asked, requests, found, how, finder.looked)


def _summed(
    asked: _Asked, requests: list[Recorded], found: Replayed, how: How, looked: Looked
) -> Comparison:
    return summed(
        requests,
        found.rows,
        found.computers,
        candidate=asked.branch,
        written=rfc3339(time.time()),
        tolerance=how.tolerance,
        by=asked.by,
        largest=asked.largest,
        warnings=_warnings(looked),
    )


def _warnings(looked: Looked) -> tuple[str, ...]:
    if not looked.bad:
        return ()
    return (f"{len(looked.bad):,} times a segment holds what is no row, such as {looked.bad[0]}.",)


def _shown(found: Replay | Comparison, *, as_json: bool, as_markdown: bool) -> str:
    if as_json:
        return (
            msgspec.json.format(msgspec.json.encode(found, enc_hook=str), indent=2).decode() + "\n"
        )
    width = shutil.get_terminal_size((120, 24)).columns
    if isinstance(found, Replay):
        return replay_markdown(found) if as_markdown else replay_terminal(found, width)
    return comparison_markdown(found) if as_markdown else comparison_terminal(found, width)


def _code(found: Replay | Comparison, fail_above: float | None) -> int:
    if isinstance(found, Replay):
        return {"same": 0, "different": 1, "failed": 1, "unknown": 2}[found.word]
    answered = found.compared + found.failed
    if not answered:
        return 2
    if found.candidate is None:
        return int(found.same < answered)
    return int(
        fail_above is not None and 100 * (found.changed + found.failed) / answered > fail_above
    )
