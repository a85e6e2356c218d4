"""What a branch's rows are compared with, and how it comes about.

A stream is a branch's rows of one fingerprint. Its reference is metrics/reference.json, else made
of the data that `drift.reference` names, else of the first served rows; columns that a file cannot
know, such as latency, always come from served rows. What was decided is remembered, so that a
restart decides nothing anew; only data that moved is looked at again.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import ContentAway, ContentError, GatewayError, MissingRef, RepositoryError
from gateway.monitoring.drift.blocks import Block, columns_of, input_names
from gateway.monitoring.drift.files import BranchFiles
from gateway.monitoring.drift.profiles import Profiles, completed, without
from gateway.monitoring.drift.tries import NotYet, Tries
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
REFERENCE_FILE = "metrics/reference.json"
_MOST_BYTES = 64 * 1024 * 1024
_ROOM, _SAMPLES = ROOMS = "reference", "sample"

Changes = dict[tuple[str, str], bytes | None]


class Known(msgspec.Struct, frozen=True):
    """What is known of a stream's reference. `profile` is an id; None while rows are collected."""

    profile: str | None = None
    #: What is wrong with the reference that the branch brings, and with the data named for it.
    flaw: str | None = None
    trouble: str | None = None
    #: Of the data the profile was made of, and the tip at which that was seen.
    identity: str | None = None
    tip: str | None = None
    #: Served rows collected for what the profile lacks; None once they are enough.
    collected: int | None = 0
    #: The data that was asked for; None where the branch brings its reference.
    wanted: ReferenceSettings | None = None
    #: The branch brings it: for this content nothing else will ever be looked for.
    own: bool = False

    @property
    def said(self) -> str | None:
        """Why there is no better one."""
        return "; ".join(filter(None, (self.flaw, self.trouble))) or None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stream's rows come from: the commit they name, and the newest known tip with it."""

    branch: Branch
    fingerprint: str
    commit: Commit
    tip: Commit
    columns: Sequence[str] | None
    #: Columns of which nothing is kept, not even what the branch's own files say.
    hidden: Sequence[str] = ()


class References:
    """The references of all streams, by the stream's name."""

    def __init__(
        self,
        store: Store,
        profiles: Profiles,
        snapshots: Path,
        files: BranchFiles,
        scratch: Path,
        tries: Tries,
    ) -> None:
        """`scratch` is a file that data is brought to while it is read."""
        self._store = store
        self._profiles = profiles
        self._snapshots = snapshots
        self._files = files
        self._scratch = scratch
        self._tries = tries
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
        return {(_ROOM, stream): None, **dict.fromkeys(self._sample_places(stream))}

    # A file of the branch

    def settle(self, stream: str, place: Place, wanted: ReferenceSettings | None) -> Changes:
        """See to it that there is a reference, or that one is collected; what to remember.

        NotYet while it cannot be said, for PATIENCE at most.
        """
        changes = self._settled(stream, place, wanted)
        known = self.known(stream)
        if known.profile is None or not place.hidden:
            return changes
        # Redaction may be younger than the reference.
        name, more = self._add(self._profiles.of(known.profile).profile, place)
        if name == known.profile:
            return changes
        return {
            **changes,
            **more,
            **self._note(stream, msgspec.structs.replace(known, profile=name)),
        }

    def _add(self, profile: Profile, place: Place) -> tuple[str, Changes]:
        return self._profiles.add(without(profile, place.hidden))

    def _settled(self, stream: str, place: Place, wanted: ReferenceSettings | None) -> Changes:
        known = self._known.get(stream)
        if known is not None and not self._may_have_moved(known, place, wanted):
            return {}
        refusal = self._tries.refusal(stream)
        if refusal is not None:
            if known is None:
                raise NotYet(refusal)
            return {}
        begun = self._tries.begun()
        try:
            if known is None:
                found, changes = self._found(place, wanted)
            else:
                found, changes = self._moved(known, place, wanted)
        except (RepositoryError, ContentAway, OSError) as error:
            is_over = self._tries.failed(stream, begun, str(error))
            if known is not None:
                # The one in force is as good as it was.
                return {}
            if not is_over:
                raise NotYet(str(error)) from error
            found, changes = Known(trouble=str(error), wanted=wanted), {}
        self._tries.succeeded(stream)
        return {**changes, **self._note(stream, found)}

    def _note(self, stream: str, known: Known) -> Changes:
        self._known[stream] = known
        return {(_ROOM, stream): msgspec.json.encode(known)}

    def _found(self, place: Place, wanted: ReferenceSettings | None) -> tuple[Known, Changes]:
        flaw = None
        try:
            profile = self._of_the_branch(place)
        except ProfileError as error:
            profile, flaw = None, f"{REFERENCE_FILE}: {error}"
        if profile is not None:
            name, changes = self._add(profile, place)
            return Known(name, own=True), changes
        if wanted is None:
            return Known(flaw=flaw), {}
        found, changes = self._of_data(place, wanted)
        return msgspec.structs.replace(found, flaw=flaw), changes

    def _of_the_branch(self, place: Place) -> Profile | None:
        """metrics/reference.json, from the snapshot if it is still there."""
        snapshot = self._snapshots / place.fingerprint
        if snapshot.is_dir():
            path = snapshot / REFERENCE_FILE
            if not path.is_file():
                return None
            data = path.read_bytes()
        else:
            commit, path = place.commit, self._scratch
            try:
                self._files.write(place.branch, commit, REFERENCE_FILE, path, _MOST_BYTES)
                data = path.read_bytes()
            except ContentAway:
                raise
            except (MissingRef, ContentError):
                return None
            finally:
                path.unlink(missing_ok=True)
        if isinstance(fields := _json(data), dict) and "columns" not in fields:
            return None
        return parse_profile(data, place.columns)

    def _of_data(self, place: Place, wanted: ReferenceSettings) -> tuple[Known, Changes]:
        branch, tip = place.branch, place.tip
        try:
            identity = self._files.identity(branch, tip, wanted.path)
            return self._read_data(place, wanted, identity)
        except ContentAway:
            raise
        except GatewayError as error:
            if isinstance(error, RepositoryError) and not isinstance(error, MissingRef):
                raise
            said = str(error).replace(str(self._brought(wanted)), wanted.path)
        except OSError:
            raise
        except Exception as error:
            # A defect of ours met one file: it must not cost the branch all drift.
            log.exception("no reference of %s", wanted.path, extra={"branch": branch})
            said = f"{wanted.path} could not be read: {error!r}"
        log.warning("no reference of %s: %s", wanted.path, said, extra={"branch": branch})
        return Known(trouble=said, tip=str(tip), wanted=wanted), {}

    def _brought(self, wanted: ReferenceSettings) -> Path:
        """Where data lies while it is read."""
        return self._scratch.with_name(f"reference{Path(wanted.path).suffix.lower()}")

    def _read_data(
        self, place: Place, wanted: ReferenceSettings, identity: str
    ) -> tuple[Known, Changes]:
        target = self._brought(wanted)
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
        name, changes = self._add(profile, place)
        return Known(name, identity=identity, tip=str(place.tip), wanted=wanted), changes

    @staticmethod
    def _may_have_moved(known: Known, place: Place, wanted: ReferenceSettings | None) -> bool:
        if known.own or wanted is None:
            return False
        return wanted != known.wanted or place.tip != known.tip

    def _moved(
        self, known: Known, place: Place, wanted: ReferenceSettings | None
    ) -> tuple[Known, Changes]:
        """The tip moved, the served content did not: did the data? Else what there is stays."""
        assert wanted is not None
        seen = {"tip": str(place.tip), "wanted": wanted}
        if known.identity is not None and wanted == known.wanted:
            with contextlib.suppress(ContentError):
                identity = self._files.identity(place.branch, place.tip, wanted.path)
                if identity == known.identity:
                    return msgspec.structs.replace(known, **seen, trouble=None), {}
        found, changes = self._of_data(place, wanted)
        found = msgspec.structs.replace(found, flaw=known.flaw)
        if found.profile is None:
            return msgspec.structs.replace(known, **seen, trouble=found.trouble), {}
        if known.collected is not None or known.profile is None:
            return msgspec.structs.replace(found, collected=known.collected), changes
        # The columns that were made of served rows are taken over.
        former = self._profiles.of(known.profile).profile
        served = [column for column in former.columns if column.live and column.name in DERIVED]
        name, more = self._profiles.add(completed(self._profiles.of(found.profile).profile, served))
        return msgspec.structs.replace(found, profile=name, collected=None), changes | more

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
            return {**changes, (_SAMPLES, f"{stream} {chunk}"): json.dumps(sample).encode()}
        columns = _joined([*self._samples(stream), sample])
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

    def _sample_places(self, stream: str) -> dict[tuple[str, str], bytes]:
        """What was collected, by where it stands; in the order of its chunks."""
        collected = sorted(self._store.recall(_SAMPLES).items())
        return {
            (_SAMPLES, name): data for name, data in collected if name.rpartition(" ")[0] == stream
        }

    def _samples(self, stream: str) -> list[Mapping[str, Any]]:
        return [json.loads(data) for data in self._sample_places(stream).values()]

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
        return {**changes, **noted, **dict.fromkeys(self._sample_places(stream))}


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
