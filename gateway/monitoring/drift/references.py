"""What a branch's rows are compared with, and how it comes about.

A stream is a branch's rows of one fingerprint. Its reference is metrics/reference.json, else made
of the data that `drift.reference` names, else of the first served rows; columns that a file cannot
know, such as latency, always come from served rows. What was decided is remembered, so that a
restart decides nothing anew; only data that moved is looked at again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import ContentAway, ContentError, GatewayError, MissingRef, RepositoryError
from gateway.monitoring.drift.blocks import Block, columns_of, input_names
from gateway.monitoring.drift.files import BranchFiles
from gateway.monitoring.drift.profiles import Profiles, completed
from gateway.monitoring.monitor_settings import ReferenceSettings
from gateway.names import Branch, Commit
from gateway.profiling import profile_table
from gateway.statistics.profiler import reference_columns
from gateway.statistics.reference import (
    DERIVED,
    LATENCY,
    PREDICTION,
    SCORE,
    Profile,
    ProfileError,
    parse_profile,
)
from gateway.statistics.window import Bins
from gateway.store import Store

log = logging.getLogger(__name__)

#: Served rows that a reference is made of, where there is nothing better.
SERVED_ROWS = 5000
#: Seconds that rows wait for a reference which cannot be fetched now.
PATIENCE = 600.0
REFERENCE_FILE = "metrics/reference.json"
_MOST_BYTES = 64 * 1024 * 1024
_ROOM, _SAMPLES = "reference", "sample"

Changes = dict[tuple[str, str], bytes | None]


class NotYet(Exception):
    """The reference cannot be asked for at the moment: rows wait for it."""


class Known(msgspec.Struct, frozen=True):
    """What is known of a stream's reference. `profile` is an id; None while rows are collected."""

    profile: str | None = None
    trouble: str | None = None
    #: Of the data the profile was made of, and the tip at which that was seen.
    identity: str | None = None
    tip: str | None = None
    #: Served rows collected for what the profile lacks; None once they are enough.
    collected: int | None = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stream's rows come from: the commit they name, and the newest known tip with it."""

    branch: Branch
    fingerprint: str
    commit: Commit
    tip: Commit
    columns: Sequence[str] | None


class References:
    """The references of all streams, by the stream's name."""

    def __init__(
        self,
        store: Store,
        profiles: Profiles,
        snapshots: Path,
        files: BranchFiles,
        scratch: Path,
        clock: Callable[[], float],
    ) -> None:
        """`scratch` is a file that data is brought to while it is read."""
        self._store = store
        self._profiles = profiles
        self._snapshots = snapshots
        self._files = files
        self._scratch = scratch
        self._clock = clock
        self._asked: dict[str, float] = {}
        self._known = {
            name: msgspec.json.decode(data, type=Known)
            for name, data in store.recall(_ROOM).items()
        }

    def known(self, stream: str) -> Known:
        return self._known.get(stream, Known())

    def bins(self, stream: str) -> Bins | None:
        """What rows of the stream are counted by from now on; None while there is nothing."""
        profile = self.known(stream).profile
        return self._profiles.of(profile) if profile is not None else None

    @property
    def named(self) -> set[str]:
        """The profiles that are in use."""
        return {known.profile for known in self._known.values() if known.profile}

    def forget(self, stream: str) -> Changes:
        self._known.pop(stream, None)
        samples = self._store.recall(_sample_room(stream))
        return {(_ROOM, stream): None, **{(_sample_room(stream), name): None for name in samples}}

    # A file of the branch

    def settle(self, stream: str, place: Place, wanted: ReferenceSettings | None) -> Changes:
        """See to it that there is a reference, or that one is collected; what to remember.

        NotYet while it cannot be said, for PATIENCE at most.
        """
        known = self._known.get(stream)
        try:
            if known is None:
                found, changes = self._found(place, wanted)
            elif self._may_have_moved(known, place, wanted):
                found, changes = self._moved(known, place, wanted)
            else:
                return {}
        except (RepositoryError, ContentAway) as error:
            if known is not None:
                # The one in force is as good as it was.
                return {}
            first = self._asked.setdefault(stream, self._clock())
            if self._clock() - first < PATIENCE:
                raise NotYet(str(error)) from error
            found, changes = Known(trouble=str(error)), {}
        self._asked.pop(stream, None)
        if known is not None and known.collected is None:
            found, more = self._with_served(found, known)
            changes |= more
        return {**changes, **self._note(stream, found)}

    def _note(self, stream: str, known: Known) -> Changes:
        self._known[stream] = known
        return {(_ROOM, stream): msgspec.json.encode(known)}

    def _found(self, place: Place, wanted: ReferenceSettings | None) -> tuple[Known, Changes]:
        trouble = None
        try:
            profile = self._of_the_branch(place)
        except ProfileError as error:
            profile, trouble = None, f"{REFERENCE_FILE}: {error}"
        if profile is not None:
            name, changes = self._profiles.add(profile)
            return Known(name), changes
        if wanted is not None:
            return self._of_data(place, wanted, trouble)
        return Known(trouble=trouble), {}

    def _of_the_branch(self, place: Place) -> Profile | None:
        """metrics/reference.json, from the snapshot if it is still there."""
        snapshot = self._snapshots / place.fingerprint
        if snapshot.is_dir():
            path = snapshot / REFERENCE_FILE
            if not path.is_file():
                return None
        else:
            path = self._scratch
            try:
                self._files.write(place.branch, place.commit, REFERENCE_FILE, path, _MOST_BYTES)
            except (MissingRef, ContentError) as error:
                if isinstance(error, ContentAway):
                    raise
                return None
        data = path.read_bytes()
        if isinstance(fields := _json(data), dict) and "columns" not in fields:
            return None
        return parse_profile(data, place.columns)

    def _of_data(
        self, place: Place, wanted: ReferenceSettings, trouble: str | None
    ) -> tuple[Known, Changes]:
        branch, tip = place.branch, place.tip
        try:
            identity = self._files.identity(branch, tip, wanted.path)
            return self._read_data(place, wanted, identity)
        except ContentAway:
            raise
        except GatewayError as error:
            if isinstance(error, RepositoryError) and not isinstance(error, MissingRef):
                raise
            said = f"{trouble}; {error}" if trouble else str(error)
            log.warning("no reference of %s: %s", wanted.path, error, extra={"branch": branch})
            return Known(trouble=said, tip=tip), {}

    def _read_data(
        self, place: Place, wanted: ReferenceSettings, identity: str
    ) -> tuple[Known, Changes]:
        target = self._scratch.with_name(f"reference{Path(wanted.path).suffix.lower()}")
        try:
            source = self._files.write(
                place.branch, place.tip, wanted.path, target, wanted.max_bytes
            )
            profile = profile_table(
                target,
                target=wanted.target,
                columns=place.columns,
                source={"type": "data", **source},
                examples=0,
            )
        finally:
            target.unlink(missing_ok=True)
        name, changes = self._profiles.add(profile)
        return Known(name, identity=identity, tip=place.tip), changes

    @staticmethod
    def _may_have_moved(known: Known, place: Place, wanted: ReferenceSettings | None) -> bool:
        return wanted is not None and known.tip is not None and known.tip != place.tip

    def _moved(
        self, known: Known, place: Place, wanted: ReferenceSettings | None
    ) -> tuple[Known, Changes]:
        """The tip moved, the served content did not: did the data?"""
        assert wanted is not None
        try:
            identity = self._files.identity(place.branch, place.tip, wanted.path)
        except ContentError:
            identity = known.identity or ""
        if identity == known.identity:
            return msgspec.structs.replace(known, tip=place.tip), {}
        return self._of_data(place, wanted, None)

    def _with_served(self, found: Known, before: Known) -> tuple[Known, Changes]:
        """A new profile takes over the columns that were made of served rows."""
        if found.profile is None or before.profile is None or found.profile == before.profile:
            return msgspec.structs.replace(found, collected=before.collected), {}
        former = self._profiles.of(before.profile).profile
        served = [column for column in former.columns if column.live]
        profile = completed(self._profiles.of(found.profile).profile, served)
        name, changes = self._profiles.add(profile)
        return msgspec.structs.replace(found, profile=name, collected=None), changes

    # Served rows

    def collects(self, stream: str) -> int:
        """How many more served rows the stream's reference needs."""
        collected = self.known(stream).collected
        return 0 if collected is None else SERVED_ROWS - collected

    def collect(
        self, stream: str, chunk: str, blocks: Sequence[Block], hidden: Sequence[str], ts: str
    ) -> Changes:
        """Take these rows, of one chunk, for the reference; it is made as soon as they are enough.

        What to remember; nothing counts until it is remembered.
        """
        known = self.known(stream)
        rows = (known.collected or 0) + sum(block.rows for block in blocks)
        sample = self._sampled(known, blocks, hidden)
        if rows < SERVED_ROWS:
            changes = self._note(stream, msgspec.structs.replace(known, collected=rows))
            return {**changes, (_sample_room(stream), chunk): json.dumps(sample).encode()}
        columns = _joined([*self._samples(stream).values(), sample])
        return self._complete(stream, known, columns, rows, ts)

    def _sampled(
        self, known: Known, blocks: Sequence[Block], hidden: Sequence[str]
    ) -> dict[str, list[Any]]:
        names: tuple[str, ...] = ()
        if known.profile is None:
            names = next((input_names(b) for b in blocks if b.instances is not None), ())
        found: dict[str, list[Any]] = {}
        for block in blocks:
            for name, values in columns_of([block], names, hidden).items():
                found.setdefault(name, []).extend(map(_plain, values))
        return found

    def _samples(self, stream: str) -> Mapping[str, Any]:
        room = self._store.recall(_sample_room(stream))
        return {name: json.loads(data) for name, data in sorted(room.items())}

    def _complete(
        self, stream: str, known: Known, columns: Mapping[str, list[Any]], rows: int, ts: str
    ) -> Changes:
        lacking = [name for name in columns if known.profile is None or name in DERIVED]
        categories = [PREDICTION] if SCORE in columns else []
        served = reference_columns(
            {name: columns[name] for name in _ordered(lacking)}, categorical=categories, live=True
        )
        if known.profile is None:
            source = {"type": "live", "until": ts}
            named = tuple(msgspec.structs.replace(column, n=column.rows) for column in served)
            profile = Profile(n=rows, columns=named, source=source)
        else:
            profile = completed(self._profiles.of(known.profile).profile, served)
        name, changes = self._profiles.add(profile)
        noted = self._note(stream, msgspec.structs.replace(known, profile=name, collected=None))
        old = {(_sample_room(stream), chunk): None for chunk in self._samples(stream)}
        return {**changes, **noted, **old}


def _sample_room(stream: str) -> str:
    return f"{_SAMPLES} {stream}"


def _ordered(names: Sequence[str]) -> list[str]:
    """Inputs as they come, then derived columns in their order."""
    derived = [name for name in (PREDICTION, SCORE, LATENCY) if name in names]
    return [name for name in names if name not in DERIVED] + derived


def _joined(samples: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for sample in samples:
        for name, values in sample.items():
            found.setdefault(name, []).extend(values)
    return found


def _plain(value: Any) -> Any:
    """Nested values only say that they are: what is in them is not measured."""
    return [] if isinstance(value, list | dict) else value


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
