"""`gateway key`: makes an API key, shows it once, and writes down its hash alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from gateway.access.keys_file import Key, digest_of, new_key, parse_keys
from gateway.access.scopes import SCOPES
from gateway.config.document import read_text
from gateway.errors import ConfigError, GatewayError, StateError
from gateway.reporting.commands import fail
from gateway.state import write_atomically

_LONGEST_DAYS = 36500


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """A moment, a day, which means its first second in UTC, or days from now."""
    if value is None:
        return None
    now = datetime.now(UTC)
    try:
        if days := re.fullmatch(r"(\d{1,5})d", value):
            found = now + timedelta(days=min(int(days[1]), _LONGEST_DAYS))
        else:
            found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("must be 90d, 2027-01-01 or 2027-01-01T00:00:00Z") from None
    found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    if found <= now:
        raise click.BadParameter(f"must be in the future. Given: {value}")
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")


@click.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="What it may do; give the option once for each.",
)
@click.option(
    "--expires",
    metavar="WHEN",
    callback=_moment,
    help="When it ends: 90d, 2027-01-01, 2027-01-01T12:00:00Z. Without it, never.",
)
@click.option("--rate", type=click.FloatRange(0.01, 1_000_000), help="Most requests a second.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add it to this file of keys (`access.keys_file`), which is made if it is not there.",
)
def key(
    name: str, scopes: tuple[str, ...], expires: str | None, rate: float | None, file: Path | None
) -> None:
    """Make a new API key for NAME, the service or person that is to have it.

    The key goes to standard output and is kept nowhere: give it to whoever is to have it. What
    stands in the file is its hash. A running gateway takes a changed file within two seconds.

    \b
      gateway key churn-service --scope predict --scope feedback --file keys.yaml
      gateway key prometheus --scope read --expires 90d --file keys.yaml

    To rotate a key, make another one of the same name, hand it out, then delete the old entry.
    """
    made = new_key()
    try:
        entry = _entry(name, made, scopes, expires, rate)
        if file is not None:
            _add(file.resolve(), entry)
    except GatewayError as error:
        fail(error)
    click.echo(made)
    if file is None:
        click.echo(
            f"\nIts entry for the file of keys, below `keys:`\n\n{entry}", err=True, nl=False
        )
    else:
        click.echo(f"{file} has its hash. The key is shown this once.", err=True)


def _entry(
    name: str, made: str, scopes: tuple[str, ...], expires: str | None, rate: float | None
) -> str:
    """Its lines; ConfigError if the name will not do."""
    scopes = tuple(scope for scope in SCOPES if scope in scopes)
    text = (
        f"- name: {name}\n  sha256: {digest_of(made.encode())}\n  scopes: [{', '.join(scopes)}]\n"
    )
    text += f"  expires: {expires}\n" if expires is not None else ""
    text += f"  rate: {rate:g}\n" if rate is not None else ""
    try:
        parse_keys(f"keys:\n{text}", "NAME")
    except ConfigError as error:
        said = error.mistakes[0].partition(": ")[2].partition(": ")[2]
        raise StateError(said or error.message, where="NAME") from None
    return text


def _add(file: Path, entry: str) -> None:
    """Write the file anew with the entry at its end, and all else as it stands there."""
    with _alone(file.parent):
        before = read_text(file) if file.exists() else ""
        keys = parse_keys(before, str(file)) if before.strip() else ()
        content = _with(before, keys, entry)
        if content is None:
            text = "an entry cannot be put at its end: make the key without --file, and paste it"
            raise StateError(text, where=str(file))
        try:
            known = file.stat() if before else None
            write_atomically(file, content.encode())
            if known is not None:
                # Whoever may read it, as the gateway's user, still may.
                file.chmod(known.st_mode & 0o777)
                with contextlib.suppress(PermissionError):
                    os.chown(file, known.st_uid, known.st_gid)
        except OSError as error:
            raise StateError(f"cannot be written: {error.strerror}", where=str(file)) from error


def _with(before: str, keys: tuple[Key, ...], entry: str) -> str | None:
    """The text with one key more, in whatever way lists are written there."""
    body = before.rstrip() + "\n" if before.strip() else "keys:\n"
    for indent in ("", "  ", "    "):
        added = "".join(f"{indent}{line}\n" for line in entry.splitlines())
        for beginning in (body, re.sub(r"keys: *\[ *\]\n$", "keys:\n", body)):
            try:
                found = parse_keys(beginning + added, "")
            except ConfigError:
                continue
            if found[:-1] == keys:
                return beginning + added
    return None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two that add a key at the same time do so one after the other."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StateError(f"cannot be used: {error.strerror}", where=str(folder)) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
