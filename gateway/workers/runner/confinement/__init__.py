"""What a worker takes from itself before anything of a branch is read: the layers around it.

`confine` puts them on, one after the other, and says of each whether it holds. None of them can be
taken off again, and what the process starts later has them too. Only the standard library is used,
and only system calls that need no privilege but for the change of the user.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import calls, files, limits, user

#: In the order they are put on. `user` is there only where the gateway runs as root.
LAYERS = ("limits", "user", "privileges", "parent_death", "landlock", "seccomp")


class Order(NamedTuple):
    """What the parent says of it; `user` is a number that nobody else has, where it may give one.

    `scratch` is the one folder that may be written to, and `room` its bytes.
    """

    sandbox: str
    network: bool
    scratch: str | None
    room: int
    user: int | None
    group: int | None


class Confined(NamedTuple):
    """The layers that hold, each with what it does here, and those that lack, with the reason."""

    sandbox: str
    holds: Mapping[str, str]
    lacks: Mapping[str, str]
    readable: Sequence[str]
    writable: Sequence[str]

    @property
    def said(self) -> dict[str, Any]:
        """What the parent is told."""
        return {"sandbox": self.sandbox, "holds": self.holds, "lacks": self.lacks}


class Uncontained(Exception):
    """A layer that is required does not hold; the message names it."""


class Lacking(Exception):
    """This layer cannot be put on here; the message says why."""


def confine(order: Order, root: Path, *, newest_landlock: int = files.NEWEST) -> Confined:
    """Put every layer on; Uncontained if one lacks that must not.

    `newest_landlock` is for trying how it is on an older kernel.
    """
    if order.sandbox == "off":
        return Confined("off", {}, {}, (), ())
    readable = files.readable(root, network=order.network)
    writable = files.writable(order.scratch)
    if sys.platform != "linux":
        lacks = dict.fromkeys(LAYERS, f"there is none on {sys.platform}")
        return _allowed(Confined(order.sandbox, {}, lacks, readable, writable))
    holds: dict[str, str] = {}
    lacks = {}
    abi = min(files.version(), newest_landlock)
    steps: dict[str, Callable[[], str]] = {
        "limits": lambda: limits.bound(order.room, own_user=order.user is not None),
        "privileges": user.give_up_privileges,
        "parent_death": user.die_with_parent,
        "landlock": lambda: files.restrict(abi, readable, writable, network=order.network),
        "seccomp": lambda: calls.restrict(network=order.network, landlock=abi),
    }
    if order.user is not None:
        number, group = order.user, order.group if order.group is not None else order.user
        steps["user"] = lambda: user.become(number, group, order.scratch, [str(root), *_modules()])
    for layer in LAYERS:
        if layer in steps:
            try:
                holds[layer] = steps[layer]()
            except (Lacking, OSError, ValueError) as error:
                lacks[layer] = str(error)
    if "landlock" in lacks:
        user.close_to_others()
    if order.scratch is None:
        lacks["scratch"] = "its folder could not be made; nothing can be written"
    return _allowed(Confined(order.sandbox, holds, lacks, readable, writable))


def _modules() -> list[str]:
    """Where imports look, and where ours will still be looked for."""
    return [*files.environment(), str(Path(__file__).parents[1])]


def _allowed(confined: Confined) -> Confined:
    lacks = {layer: why for layer, why in confined.lacks.items() if layer != "scratch"}
    if confined.sandbox == "required" and lacks:
        said = "; ".join(f"{layer}: {why}" for layer, why in lacks.items())
        raise Uncontained(f"sandbox: required, but a worker here lacks {said}")
    return confined
