"""The door for an operator's words to the monitor: a file each, in `state_dir/commands/`.

Whoever may write there may command. A file is whole or not there; the monitor takes them oldest
first, and removes what is in force. What cannot be read is put aside, so that it is seen once.
"""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path

import msgspec
from msgspec.structs import replace

from gateway.experiments.facts import Command
from gateway.state import write_atomically

log = logging.getLogger(__name__)

FOLDER = "commands"
ASIDE = ".unreadable"
#: Of one that is to be taken back from the other replicas, and of one that is beyond that.
WITHDRAWN, TAKEN = ".withdrawn", ".taken"
#: Of a command's file, and of commands taken in one look.
MOST_BYTES, MOST = 64 * 1024, 100


def send(state_dir: Path, command: Command) -> Command:
    """Leave it for the monitor; as it was written, with its own `id`. OSError if it cannot be."""
    folder = state_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    # Names sort by time; what is sent at the very same one must differ all the same.
    name = f"{int(command.at * 1000):015d}-{secrets.token_hex(4)}"
    sent = replace(command, id=name)
    write_atomically(_file(state_dir, sent), msgspec.json.encode(sent))
    return sent


def waiting(state_dir: Path) -> list[Command]:
    """Those that nobody took yet, oldest first; none where the folder cannot be read."""
    try:
        with os.scandir(state_dir / FOLDER) as entries:
            names = sorted(one.name for one in entries if _is_command(one.name))
    except OSError:
        return []
    return _commands(state_dir, names[:MOST])


def _commands(state_dir: Path, names: list[str]) -> list[Command]:
    found = []
    for name in names:
        file = state_dir / FOLDER / name
        try:
            command = _read(file)
        except FileNotFoundError:  # withdrawn meanwhile
            continue
        except (OSError, ValueError) as error:
            _put_aside(file, error)
        else:
            found.append(replace(command, id=name.partition(".")[0]))
    return found


def withdraw(state_dir: Path, command: Command) -> bool:
    """Have it taken back from wherever it went; False if it is in force already."""
    file = _file(state_dir, command)
    try:
        file.rename(file.with_name(file.name + WITHDRAWN))
    except FileNotFoundError:
        return False
    return True


def withdrawals(state_dir: Path) -> list[Command]:
    """Those that are to be taken back; none where the folder cannot be read."""
    try:
        names = sorted(path.name for path in (state_dir / FOLDER).glob(f"*.json{WITHDRAWN}"))
    except OSError:
        return []
    return _commands(state_dir, names[:MOST])


def settle(state_dir: Path, command: Command, *, is_taken: bool) -> None:
    """What became of a withdrawal: it is taken back, or a monitor is about to act upon it."""
    file = _file(state_dir, command)
    asked = file.with_name(file.name + WITHDRAWN)
    if is_taken:
        asked.rename(file.with_name(file.name + TAKEN))
    else:
        asked.unlink(missing_ok=True)


def is_withdrawing(state_dir: Path, command: Command) -> bool:
    """Nobody said yet what became of it."""
    file = _file(state_dir, command)
    return file.with_name(file.name + WITHDRAWN).exists()


def was_taken(state_dir: Path, command: Command) -> bool:
    """It came too late to be withdrawn; asked once."""
    file = _file(state_dir, command)
    try:
        file.with_name(file.name + TAKEN).unlink()
    except FileNotFoundError:
        return False
    return True


def done(state_dir: Path, command: Command) -> bool:
    """It is in force, or is withdrawn: remove it. False if it was gone already."""
    try:
        _file(state_dir, command).unlink()
    except FileNotFoundError:
        return False
    return True


def is_waiting(state_dir: Path, command: Command) -> bool:
    return _file(state_dir, command).exists()


def _file(state_dir: Path, command: Command) -> Path:
    return state_dir / FOLDER / f"{command.id}.json"


def _is_command(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def _read(file: Path) -> Command:
    # Neither a link out of the folder nor a pipe that blocks.
    fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as opened:
        data = opened.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"must be at most {MOST_BYTES} bytes")
    return msgspec.json.decode(data, type=Command)


def _put_aside(file: Path, error: Exception) -> None:
    log.warning("%s is no command, and is put aside as *%s: %s", file, ASIDE, error)
    try:
        file.rename(file.with_name(file.name + ASIDE))
    except OSError as refused:
        log.warning("%s cannot be put aside: %s", file, refused)
