"""The commands. The only place that reads the environment, and where an error becomes words."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click
import prometheus_client

from gateway import __version__
from gateway.app import Front
from gateway.config import Config, CredentialsConfig, OperatorConfig, TeamConfig
from gateway.config.document import (
    MOST_BYTES,
    anchored,
    load_config,
    load_operator,
    parse_operator,
    parse_team,
    read_text,
)
from gateway.errors import GatewayError
from gateway.layout import Kind
from gateway.listening import bind, serve_until_told
from gateway.monitoring.export import export as read_segments
from gateway.monitoring.monitor_settings import SETTINGS_FILE
from gateway.names import Branch, InvalidName
from gateway.plan_command import plan
from gateway.reporting.commands import drift, fail, report
from gateway.reporting.explain_command import explain
from gateway.repositories.credentials import open_credentials
from gateway.repositories.following import Following, repository_of
from gateway.repositories.kind import folder_of, former_address, located
from gateway.secret import named_secret
from gateway.sources import IN_REPOSITORY, BranchSource, FileSource
from gateway.state import StateDirectory
from gateway.structured_log import configure

#: What git may see of the environment. A branch's processes see nothing of it.
_FOR_GIT = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CONFIG_HOME"),
    *("SSH_AUTH_SOCK", "GIT_ASKPASS", "GIT_SSH_COMMAND"),
    *("GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"),
)

_file = click.argument("file", type=click.Path(path_type=Path), required=False)
_repository = click.option(
    "--repository", metavar="URL", help="The repository, in place of a FILE that names it."
)
_DEFAULT_FILE = Path("gateway.yaml")
_log_format = click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    help="Form of the log on standard error; auto is text on a terminal, else JSON lines.",
)
_log_level = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="The least important lines that are logged.",
)


_for_all = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "obj": os.environ,  # of the commands that stand elsewhere
}


@click.group(context_settings=_for_all)
@click.version_option(__version__, prog_name="gateway")
def main() -> None:
    """Serve the models of a git repository's branches, split between users.

    \b
    First steps:
      gateway demo                   a demonstration repository, served and explained
      gateway check gateway.yaml     is the file right? (for CI)
      gateway serve gateway.yaml     serve it
      curl localhost:8080/branches   what serves, and why

    A whole gateway.yaml:

    \b
      repository: https://git.example.org/team/project.git
      baseline: prod
      branches:
        prod:           {weight: 90}
        ab-test-210323: {weight: 10}
    """


@main.command()
@_file
@_repository
@click.option(
    "--config-branch",
    metavar="BRANCH",
    help="Take baseline, branches, salt, unit and drift from gateway.yaml on this branch.",
)
@_log_format
@_log_level
def serve(
    file: Path | None,
    repository: str | None,
    config_branch: str | None,
    log_format: str,
    log_level: str,
) -> None:
    """Serve the branches of FILE (default: gateway.yaml) until SIGTERM or Ctrl-C.

    FILE is read again when it changes. With --config-branch the repository itself says who is
    served, in its own gateway.yaml: a weight change is then a merge. FILE, or --repository alone,
    then says only what belongs to the operator.

    Exit codes: 0 stopped in order, 1 a part of the gateway could not be kept running, 2 it could
    not start.
    """
    configure(log_format, log_level)
    # A second series for each one, of no use to anybody here.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        operator, source, branches = _source(file, repository, config_branch)
        with contextlib.closing(StateDirectory(operator.state_dir)) as state:
            state.open()
            unit_key = state.unit_key(operator, os.environ)
            webhook_secret = _webhook_secret(operator)
            listener = bind(operator)
            environment = _environment(_FOR_GIT)
            credentials = open_credentials(operator.credentials, os.environ)
            settings = operator.state_dir / SETTINGS_FILE
            address = located(operator.repository, branches, former_address(settings))
            arrivals = repository_of(
                address,
                operator.state_dir,
                environment,
                credentials,
                snapshot_bytes=operator.limits.snapshot_bytes,
            )
            config = _first_config(source, arrivals)
            front = partial(
                Front,
                config,
                source,
                address,
                arrivals,
                unit_key,
                git_environment=environment,
                credentials=credentials,
                webhook_secret=webhook_secret,
            )
            sys.exit(serve_until_told(front, listener))
    except GatewayError as error:
        fail(error)


def _source(
    file: Path | None, repository: str | None, config_branch: str | None
) -> tuple[OperatorConfig, FileSource | BranchSource, Iterable[Branch]]:
    """The operator's settings, where the whole configuration comes from, and branches it names."""
    if config_branch is None:
        if repository is not None:
            raise click.UsageError("--repository goes with --config-branch; else FILE names it")
        path = file or _DEFAULT_FILE
        config = load_config(path)
        return config, FileSource(path), config.branches
    try:
        branch = Branch(config_branch)
    except InvalidName as error:
        raise click.BadParameter(str(error), param_hint="--config-branch") from None
    if (file is None) == (repository is None):
        raise click.UsageError("--config-branch goes with either FILE or --repository")
    if file is None:
        operator = parse_operator(json.dumps({"repository": repository}), "--repository")
        operator = anchored(operator, Path.cwd())
    else:
        operator = load_operator(file)
    memory = operator.state_dir / "configuration.json"
    return operator, BranchSource(branch, operator, file, memory), [branch]


def _webhook_secret(operator: OperatorConfig) -> bytes | None:
    webhook = operator.webhook
    if webhook is None:
        return None
    env, file = webhook.secret_env, webhook.secret_file
    return named_secret("webhook.secret", os.environ, env=env, file=file)


def _first_config(source: FileSource | BranchSource, arrivals: Following) -> Config:
    if isinstance(source, FileSource):
        return source.load()
    arrivals.open()
    try:
        return source.begin(
            lambda: arrivals.read_at_tip(source.branch, IN_REPOSITORY, MOST_BYTES + 1)
        )
    finally:
        arrivals.close()


@main.command()
@_file
@click.option(
    "--in-repository", is_flag=True, help="FILE is one that --config-branch reads from a branch."
)
def check(file: Path | None, in_repository: bool) -> None:
    """Say every mistake in FILE (default: gateway.yaml); exit code 2 if there is one.

    It does not look into the repository: whether the branches exist shows in /branches.
    """
    path = file or _DEFAULT_FILE
    config: TeamConfig
    if in_repository:
        try:
            config = parse_team(read_text(path).encode(), str(path))
        except GatewayError as error:
            fail(error)
        click.echo(f"{path} is right")
    else:
        config = whole = _load(path)
        click.echo(f"{path} is right: {whole.repository}")
    total = sum(config.weights.values())
    for name, branch in config.branches.items():
        role = ", the baseline" if name == config.baseline else ""
        gets = f"{branch.weight / total:.1%} of the users{role}"
        if branch.shadow:
            gets = f"a shadow, copies of {branch.shadow_share:.1%} of the answered requests"
        click.echo(f"  {name}: {gets}")


@main.command()
@click.option("--settings", type=click.Path(path_type=Path), required=True)
@_log_format
@_log_level
def monitor(settings: Path, log_format: str, log_level: str) -> None:
    """Publish the journal of a state directory. Started by `gateway serve`."""
    from gateway.monitoring.monitor import run_monitor

    configure(log_format, log_level)
    sys.exit(run_monitor(settings, sys.stdin.buffer, sys.stdout.buffer, _environment(_FOR_GIT)))


@main.command()
@click.argument("branch")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=_DEFAULT_FILE,
    show_default=True,
    help="The file that names the repository.",
)
@_repository
@click.option(
    "--kind",
    type=click.Choice(["predictions", "drift", "decisions"]),
    default="predictions",
    show_default=True,
    help="Which segments.",
)
@click.option("-o", "--output", type=click.File("wb"), default="-", help="A file; - is stdout.")
def export(branch: str, file: Path, repository: str | None, kind: Kind, output: BinaryIO) -> None:
    """Write one BRANCH's published rows as one CSV file, read from the repository."""
    try:
        name = Branch(branch)
        if repository is None:
            config = load_config(file)
            given, known, branches = config.repository, config.credentials, list(config.branches)
        else:
            given, known, branches = repository, CredentialsConfig(), [name]
        address = located(given, branches)
        place = folder_of(address) or address
        credentials = open_credentials(known, os.environ)
        for part in read_segments(place, name, kind, _environment(_FOR_GIT), credentials):
            output.write(part)
    except BrokenPipeError:
        # The reader has what it wanted (`… | head`); nothing may be flushed at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (InvalidName, GatewayError) as error:
        fail(error)


@main.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="CSV or Parquet.")
@click.option("--target", metavar="COLUMN", help="What the model predicts; no input of it.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="The fitted model (.pkl, .joblib). Loading it runs its code: only one that you trust.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("metrics/reference.json"),
    show_default=True,
    help="The file to write.",
)
@click.option(
    "--examples",
    type=click.IntRange(0, 20),
    default=20,
    show_default=True,
    help="How many rows are written down whole, to be asked before the model serves.",
)
def profile(
    data: Path, target: str | None, model: Path | None, output: Path, examples: int
) -> None:
    """Write down what the rows were like that a model was trained on, to measure drift against.

    Commit the file beside the model. With --model it also holds what the model answers to these
    rows, and its columns are the model's; modules in ./src are found, as where it is served.
    """
    from gateway.profile_command import run_profile

    try:
        run_profile(data, target, model, output, examples)
    except GatewayError as error:
        fail(error)


@main.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Where the demonstration lives; remove it to begin anew.",
)
@click.option("--port", default=8080, show_default=True, help="The port to listen on.")
def demo(folder: Path, port: int) -> None:
    """Make a demonstration repository with two branches, serve it, and say what to try."""
    from gateway.demo.run import run_demo

    try:
        sys.exit(run_demo(folder, port))
    except GatewayError as error:
        fail(error)


main.add_command(drift)
main.add_command(plan)
main.add_command(report)
main.add_command(explain)


def _load(file: Path) -> Config:
    try:
        return load_config(file)
    except GatewayError as error:
        fail(error)


def _environment(names: tuple[str, ...]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}
