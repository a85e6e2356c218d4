"""What branches' workers import, and which of it is worth importing ahead."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import and_

from gateway.names import Branch
from gateway.workers.launch import Launch

#: A worker that says it imported more is not believed.
_MOST_MODULES = 10_000


@dataclass(frozen=True, slots=True)
class Imports:
    """Modules in the order of their import, and how the interpreter that has them is started."""

    launch: Launch
    modules: tuple[str, ...]
    names: frozenset[str]

    @classmethod
    def of(cls, launch: Launch, modules: Sequence[str]) -> Imports:
        ordered = tuple(map(sys.intern, modules[:_MOST_MODULES]))
        return cls(launch, ordered, frozenset(ordered))


class Known:
    """What each branch's last worker imported."""

    def __init__(self) -> None:
        self._branches: dict[Branch, Imports] = {}
        self._broken: set[str] = set()

    def names(self, branch: Branch, launch: Launch) -> frozenset[str]:
        """The branch imports these anyway; none, if nothing is known of it."""
        known = self._branches.get(branch)
        return known.names if known is not None and known.launch == launch else frozenset()

    def learn(self, branch: Branch, imports: Imports) -> bool:
        """Whether that is news."""
        known = self._branches.get(branch)
        if known is not None and (known.launch, known.names) == (imports.launch, imports.names):
            return False
        self._branches[branch] = imports
        return True

    def forget(self, branch: Branch) -> None:
        """The branch is served no more."""
        self._branches.pop(branch, None)

    def avoid(self, modules: Iterable[str]) -> None:
        """Never wish for these again: they cannot be imported ahead."""
        self._broken.update(modules)

    def wishes(self) -> list[Imports]:
        """What to import ahead, for each way of starting workers that the branches have."""
        launches: list[Launch] = []
        for known in self._branches.values():
            if known.launch not in launches:
                launches.append(known.launch)
        return [self._wish(launch) for launch in launches]

    def _wish(self, launch: Launch) -> Imports:
        same = [known for known in self._branches.values() if known.launch == launch]
        names = saving_most(known.names for known in same)
        source = next(known for known in same if names <= known.names)
        whole = [name for name in source.modules if name in names and not self._is_broken(name)]
        return Imports.of(launch, whole)

    def _is_broken(self, name: str) -> bool:
        return any(f"{name}.".startswith(f"{broken}.") for broken in self._broken)


def saving_most(branches: Iterable[frozenset[str]]) -> frozenset[str]:
    """Of what one or more branches all import, that which saves most over all of them."""
    several = sorted(branches, key=len, reverse=True)
    candidates = dict.fromkeys([*several, *accumulate(several, and_)])

    def saved(names: frozenset[str]) -> int:
        return (len(names) + 1) * sum(names <= all_ for all_ in several)

    return max(candidates, key=saved)
