"""The reference profiles that the monitor counts by: kept by id, since windows name theirs.

Owns what the store remembers of them, and the binnings made of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from gateway.statistics.reference import Profile, ReferenceColumn, encode_profile
from gateway.statistics.window import Bins
from gateway.store import Store

ROOM = "profile"


class Profiles:
    """Every profile that some window or stream still needs."""

    def __init__(self, store: Store) -> None:
        self._kept = {
            name: Bins(msgspec.json.decode(data, type=Profile))
            for name, data in store.recall(ROOM).items()
        }

    def of(self, name: str) -> Bins:
        return self._kept[name]

    def add(self, profile: Profile) -> tuple[str, dict[tuple[str, str], bytes | None]]:
        """Its id, and what the store is to remember with whatever names it."""
        profile = msgspec.structs.replace(profile.identified(), examples=())
        if profile.id in self._kept:
            return profile.id, {}
        self._kept[profile.id] = Bins(profile)
        return profile.id, {(ROOM, profile.id): encode_profile(profile)}

    def keep_only(self, named: Collection[str]) -> dict[tuple[str, str], bytes | None]:
        """Forget the others; what the store is to forget with them."""
        gone = self._kept.keys() - set(named)
        for name in gone:
            del self._kept[name]
        return {(ROOM, name): None for name in gone}


def without(profile: Profile, hidden: Collection[str]) -> Profile:
    """The profile with nothing of these columns but their names."""
    columns = [
        ReferenceColumn(column.name, "skipped", reason="redacted")
        if column.name in hidden and column.kind != "skipped"
        else column
        for column in profile.columns
    ]
    return msgspec.structs.replace(profile, columns=tuple(columns))


def completed(profile: Profile, served: Sequence[ReferenceColumn]) -> Profile:
    """The profile with columns made of served rows, where it has none of that name."""
    known = {column.name for column in profile.columns}
    more = [
        msgspec.structs.replace(column, n=column.rows)
        for column in served
        if column.name not in known
    ]
    return msgspec.structs.replace(profile, columns=(*profile.columns, *more))
