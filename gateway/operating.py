"""An operator's word about a branch, from a shell or over HTTP, on its way to the monitor and back.

Owns what may be said of which branch, and the words for what is in force. How it waits for the
monitor is the business of whoever brought it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from gateway import commands_folder
from gateway.errors import NotFound, RequestError, StateError
from gateway.experiments.allocation import ALLOCATION_FILE, Order, Orders, parse_orders
from gateway.experiments.facts import Command
from gateway.monitoring.monitor_settings import SETTINGS_FILE, load_settings

Action = Literal["hold", "release"]
#: Seconds that a monitor has for taking a word, and between two looks whether it did.
PATIENCE, LOOK_EVERY = 15.0, 0.1
#: Seconds that this replica's monitor has for taking one back from Redis.
WITHDRAWING = 5.0
#: What becomes of a word that is withdrawn; `coming`: a holder had it already.
Outcome = Literal["taken", "coming", "withdrawn", "unknown"]
COMING = "the replica that leads has it by now; /branches shows it"
UNKNOWN = (
    "it cannot be said whether it came to Redis: it is withdrawn there as soon as this replica's"
    " monitor can ask, unless a replica takes it before; /branches shows what is in force"
)
_MOST_REASON = 300


def send(
    state_dir: Path, action: Action, branch: str, *, by: str, reason: str = "", out: bool = False
) -> Command:
    """Leave it for the monitor. RequestError if it makes no sense, StateError if it cannot be."""
    _possible(branch, state_dir)
    said = printable(" ".join(reason.split()))[:_MOST_REASON]
    command = Command("", action, branch, time.time(), out, said, by)
    try:
        return commands_folder.send(state_dir, command)
    except OSError as error:
        where = str(state_dir / commands_folder.FOLDER)
        raise StateError(f"cannot be written: {error.strerror}", where=where) from error


def is_taken(state_dir: Path, command: Command) -> bool:
    return not commands_folder.is_waiting(state_dir, command)


def withdraw(state_dir: Path, command: Command) -> Outcome:
    """Take back what nobody took in time. Among replicas it may be in Redis by now: then this
    replica's monitor is asked to take it back from there, and has some seconds for that.
    """
    if load_settings(state_dir / SETTINGS_FILE).redis is None:
        return "withdrawn" if commands_folder.done(state_dir, command) else "taken"
    if not commands_folder.withdraw(state_dir, command):
        return "taken"
    if not within(WITHDRAWING, lambda: not commands_folder.is_withdrawing(state_dir, command)):
        return "unknown"
    return "coming" if commands_folder.was_taken(state_dir, command) else "withdrawn"


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether it comes true in that time; for whoever may block."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK_EVERY)
    return True


def order_of(state_dir: Path, branch: str) -> Order | None:
    """What is decided of a branch now; None where its weight is all."""
    return orders_in(state_dir).branches.get(branch)


def orders_in(state_dir: Path) -> Orders:
    path = state_dir / ALLOCATION_FILE
    try:
        return parse_orders(path.read_bytes())
    except FileNotFoundError:
        return Orders()
    except (OSError, ValueError) as error:
        raise StateError(f"cannot be read: {error}", where=str(path)) from error


def in_words(branch: str, order: Order | None) -> str:
    if order is None:
        return printable(f"{branch} has the users that gateway.yaml gives it")
    share = "" if order.share is None else f", {order.share * 100:.3g} % of the users"
    return printable(f"{branch} is {order.state}{share}: {order.reason}")


def printable(text: str) -> str:
    """Without what a terminal acts upon."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def _possible(branch: str, state_dir: Path) -> None:
    """RequestError unless users can be taken from it, or given back."""
    file = state_dir / SETTINGS_FILE
    if not file.exists():
        text = "no gateway has run with this state_dir yet; run this where it runs"
        raise StateError(text, where=str(state_dir))
    settings = load_settings(file)
    shadows = {name for name, arm in settings.experiment.branches.items() if arm.shadow}
    where = printable(repr(branch))
    if branch == settings.baseline:
        text = "is the baseline: it has the users that the other branches leave to it"
        raise RequestError(text, where=where)
    if branch in shadows:
        raise RequestError("is a shadow: it has no users", where=where)
    if branch not in settings.branches:
        others = [n for n in settings.branches if n not in shadows and n != settings.baseline]
        text = f"no such branch is served; there are: {', '.join(others) or 'none'}"
        raise NotFound(printable(text), where=where)
