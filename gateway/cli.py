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
from gateway.access.certificate import Certificate
from gateway.access.keeping import keys_of
from gateway.access.keys_file import read_keys
from gateway.app import Front
from gateway.command_context import FOR_ALL
from gateway.config import AccessConfig, Config, CredentialsConfig, OperatorConfig, TeamConfig
from gateway.config.document import (
    MOST_BYTES,
    anchored,
    load_config,
    load_operator,
    parse_operator,
    parse_team,
    read_text,
)
from gateway.environments.uv import seen_by_uv
from gateway.errors import GatewayError
from gateway.given import Given
from gateway.health_command import healthcheck
from gateway.key_command import key
from gateway.layout import Kind
from gateway.listening import bind, serve_until_told
from gateway.log_options import log_format, log_level
from gateway.monitor_command import monitor
from gateway.monitoring.export import export as read_segments
from gateway.monitoring.monitor_settings import SETTINGS_FILE
from gateway.names import Branch, InvalidName
from gateway.plan_command import plan
from gateway.reporting.commands import config_file, drift, fail, report
from gateway.reporting.explain_command import explain
from gateway.reporting.feedback_command import feedback
from gateway.reporting.hold_command import hold, release
from gateway.reporting.replay_command import replay_rows
from gateway.reporting.results_command import results
from gateway.repositories.credentials import open_credentials
from gateway.repositories.following import Following, repository_of
from gateway.repositories.gitprocess import environment_of
from gateway.repositories.kind import folder_of, former_address, located
from gateway.repositories.signers import told_of
from gateway.secret import named_secret
from gateway.shared.place import RedisSettings, open_redis
from gateway.sources import IN_REPOSITORY, BranchSource, FileSource
from gateway.state import StateDirectory, key_id
from gateway.structured_log import configure

_file = click.argument("file", type=click.Path(path_type=Path), required=False)
_repository = click.option(
    "--repository", metavar="URL", help="The repository, in place of a FILE that names it."
)
_DEFAULT_FILE = Path("gateway.yaml")


@click.group(context_settings=FOR_ALL)
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
    help="Take who is served, and what is asked of it (baseline, branches, salt, unit, drift,"
    " metrics, allocation, exclude), from gateway.yaml on this branch.",
)
@click.option(
    "--no-monitor", is_flag=True, help="`gateway monitor FILE` runs beside it and publishes."
)
@log_format
@log_level
def serve(
    file: Path | None,
    repository: str | None,
    config_branch: str | None,
    no_monitor: bool,
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
            keys = keys_of(operator)
            certificate = Certificate(operator.tls) if operator.tls else None
            listener = bind(operator)
            environment = environment_of(os.environ)
            credentials = open_credentials(operator.credentials, os.environ)
            former = former_address(operator.state_dir / SETTINGS_FILE)
            address = located(operator.repository, branches, former)
            arrivals = repository_of(address, operator, environment, credentials)
            redis = _redis(operator, address, state, unit_key)
            config = _first_config(source, arrivals)
            given = Given(
                git_environment=environment,
                credentials=credentials,
                uv_environment=seen_by_uv(os.environ),
                webhook_secret=_webhook_secret(operator),
                redis=redis,
                keys=keys,
                certificate=certificate,
            )
            parts = (config, source, address, arrivals, unit_key, given)
            front = partial(Front, *parts, starts_monitor=not no_monitor)
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


def _redis(
    operator: OperatorConfig, repository: str, state: StateDirectory, unit_key: bytes
) -> RedisSettings | None:
    if operator.redis is None:
        return None
    from gateway.shared.joining import join

    replica, key = state.replica_id(), key_id(unit_key)
    settings = open_redis(
        operator.redis, os.environ, repository=repository, replica=replica, key=key
    )
    join(settings)
    return settings


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
        _check_access(whole)
        try:
            for line in told_of(whole.trust, os.environ.get("PATH")):
                click.echo(f"  trust: {line}")
        except GatewayError as error:
            fail(error)
    weights = config.weights
    total = sum(weights.values())
    for name, branch in config.branches.items():
        role = ", the baseline" if name == config.baseline else ""
        if branch.ramp is not None:
            role = f" at first, by its ramp up to {branch.ramp.steps[-1] / 100:.1%}"
        gets = f"{weights[name] / total:.1%} of the users{role}"
        if branch.shadow:
            gets = f"a shadow, copies of {branch.shadow_share:.1%} of the answered requests"
        click.echo(f"  {name}: {gets}")


def _check_access(config: Config) -> None:
    """Say who may do what; also the mistakes of the file of keys, where this machine has it."""
    file = config.access.keys_file
    if config.access == AccessConfig():
        return
    known = "no keys"
    if file is not None:
        known = f"keys in {file}, which is not here"
        try:
            if file.exists():
                number = len(read_keys(file))
                known = f"{number} key{'s' if number != 1 else ''} in {file}"
        except GatewayError as error:
            fail(error)
    click.echo(f"  access: {known}; without one: {', '.join(config.anonymous) or 'nothing'}")


@main.command()
@click.argument("branch")
@config_file("The file that names the repository.")
@_repository
@click.option(
    "--kind",
    type=click.Choice(["predictions", "drift", "outcomes", "results", "decisions"]),
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
        for part in read_segments(place, name, kind, environment_of(os.environ), credentials):
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
    help="The fitted model, in any format that is served, or src/serve.py. Loading it runs its"
    " code: only one that you trust.",
)
@click.option("--skops-type", multiple=True, metavar="TYPE", help="As in trust.skops_types.")
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
    data: Path,
    target: str | None,
    model: Path | None,
    skops_type: tuple[str, ...],
    output: Path,
    examples: int,
) -> None:
    """Write down what the rows were like that a model was trained on, to measure drift against.

    Commit the file beside the model. With --model it also holds what the model answers to these
    rows, asked as where it is served: this folder is its branch.
    """
    from gateway.profile_command import run_profile

    try:
        run_profile(data, target, model, output, examples, skops_type)
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
main.add_command(healthcheck)
main.add_command(monitor)
main.add_command(plan)
main.add_command(report)
main.add_command(explain)
main.add_command(feedback)
main.add_command(hold)
main.add_command(key)
main.add_command(release)
main.add_command(replay_rows)
main.add_command(results)


def _load(file: Path) -> Config:
    try:
        return load_config(file)
    except GatewayError as error:
        fail(error)
