"""What a replica says of itself to the others, and in which words two of them differ; pure.

Reads what another version wrote as far as it can, and never more than a bound of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from gateway.naming import few

#: Bytes of one announcement; a longer one is not read.
LONGEST = 256 * 1024
#: Lines of skew; what is beyond is counted.
MOST_LINES = 20
_SHOWN = 12
_LONGEST_NAME = 80
_NAMES = 3


class Serving(msgspec.Struct, frozen=True):
    """What a branch is answered with."""

    fingerprint: str
    commit: str = ""


class Replica(msgspec.Struct, frozen=True):
    """One front with its monitor, or a monitor alone. Times are Unix time in seconds."""

    id: str
    writer: str
    host: str
    pid: int
    serving: dict[str, Serving] = {}
    #: A digest of the settings that have to be the same everywhere.
    config: str = ""
    #: The id of its unit key.
    key: str = ""
    #: Of the state on its disk.
    generation: int = 0
    #: Every row older than this has left its disk.
    shipped_until: float = 0.0
    at: float = 0.0
    #: Writers of whose chunks it has some on its disk.
    keeps: tuple[str, ...] = ()
    #: The newest tip with what it serves, by branch.
    tips: dict[str, str] = {}
    #: Without one it serves nobody, and leads before those that do.
    front: bool = True


def encode(replica: Replica) -> bytes:
    return msgspec.json.encode(replica)


def decode(words: bytes) -> Replica | None:
    """None for what no version of ours would say."""
    if len(words) > LONGEST:
        return None
    try:
        return msgspec.json.decode(words, type=Replica)
    except (msgspec.MsgspecError, RecursionError):
        return None


def skew(here: Replica, others: Iterable[Replica]) -> list[str]:
    """Where replicas that are there differ from this one, a line each, and not too many."""
    there = sorted((one for one in others if one.id != here.id), key=lambda one: one.id)
    lines = list(_differences(here, there))
    if len(lines) > MOST_LINES:
        beyond = len(lines) - MOST_LINES + 1
        lines[MOST_LINES - 1 :] = [f"and {beyond} differences more"]
    return lines


def served_by_most(replicas: Iterable[Replica]) -> dict[str, dict[str, object]]:
    """What the branches serve, in the shape of served.json; the majority's where they differ."""
    votes: dict[str, Counter[tuple[str, str, str]]] = {}
    for one in sorted(replicas, key=lambda one: one.id):
        for branch, serving in one.serving.items():
            said = (serving.fingerprint, serving.commit, one.tips.get(branch, serving.commit))
            votes.setdefault(branch, Counter())[said] += 1
    found: dict[str, dict[str, object]] = {}
    for branch, counted in sorted(votes.items()):
        fingerprint, commit, tip = counted.most_common(1)[0][0]
        found[branch] = {
            "tip": tip,
            "commit": commit,
            "commit_known": True,
            "fingerprint": fingerprint,
        }
    return found


def _differences(here: Replica, there: list[Replica]) -> Iterator[str]:
    for key in sorted({one.key for one in there} - {here.key}):
        names = _named([one.id for one in there if one.key == key])
        yield f"unit key differs: {names} has {_cut(key)}, and {_cut(here.key)} is here"
    if names := _named([one.id for one in there if one.config != here.config]):
        yield f"config differs: {names} run with other settings than this replica"
    if not here.front:
        return
    there = [one for one in there if one.front]
    for branch in sorted({*here.serving, *(name for one in there for name in one.serving)}):
        yield from _of_branch(branch, here, there)


def _of_branch(branch: str, here: Replica, there: list[Replica]) -> Iterator[str]:
    """A line for each other content or commit of the branch."""
    own = here.serving.get(branch)
    by_serving: dict[Serving | None, list[str]] = {}
    for one in there:
        by_serving.setdefault(one.serving.get(branch), []).append(one.id)
    for other, names in by_serving.items():
        if other != own:
            yield (
                f"{branch[:_LONGEST_NAME]} serves {_said(own, other)} here"
                f" and {_said(other, own)} at {_named(names)}"
            )


def _said(one: Serving | None, other: Serving | None) -> str:
    if one is None:
        return "nothing"
    if other is not None and one.commit == other.commit:
        return f"content {_cut(one.fingerprint)}"
    return f"commit {_cut(one.commit)}" if one.commit else f"content {_cut(one.fingerprint)}"


def _cut(text: str) -> str:
    """Digests are told apart by their beginning."""
    return text[:_SHOWN]


def _named(names: list[str]) -> str:
    return few([name[:_LONGEST_NAME] for name in names], _NAMES)
