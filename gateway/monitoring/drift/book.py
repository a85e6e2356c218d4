"""All that is remembered of drift: windows, references, verdicts. Loaded whole, saved in parts.

What is changed here holds once the keeper has the store remember it; if that fails, a new book is
opened.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from typing import Any

from gateway.chunks import ChunkKey
from gateway.monitoring.drift import profiles, references
from gateway.monitoring.drift.files import BranchFiles
from gateway.monitoring.drift.profiles import Profiles
from gateway.monitoring.drift.references import Changes, References
from gateway.monitoring.drift.series import Series
from gateway.monitoring.drift.streams import Stream
from gateway.monitoring.drift.tries import Tries
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.names import Branch
from gateway.store import Store

_SERIES, _REPORT, _STATE = "series", "drift report", ("drift", "state")
#: All that is remembered of drift.
ROOMS = (*references.ROOMS, profiles.ROOM, _SERIES, _REPORT, _STATE[0])
#: Seconds after which a stream without rows is forgotten, unless it is its branch's newest.
_FORGOTTEN = 7 * 86400.0


class Book:
    """The present state. Not thread-safe."""

    def __init__(
        self,
        settings: MonitorSettings,
        store: Store,
        files: BranchFiles,
        tries: Tries,
    ) -> None:
        state_dir = settings.state_dir
        self.profiles = Profiles(store)
        self.references = References(
            store,
            self.profiles,
            settings.home / "snapshots",
            files,
            state_dir / "reference.tmp",
            tries,
        )
        self.series = {
            Stream.parse(name): Series.decode(data, self.profiles.of)
            for name, data in store.recall(_SERIES).items()
        }
        #: What each branch's last closed window came to, as people read it.
        self.reports: dict[Branch, dict[str, Any]] = {
            Branch(name): json.loads(data) for name, data in store.recall(_REPORT).items()
        }
        said = store.recall(_STATE[0]).get(_STATE[1])
        state: dict[str, Any] = json.loads(said) if said else {}
        self._writer: str = state.get("writer") or secrets.token_hex(4)
        self._number: int = state.get("number", 0)
        #: Fingerprint of each branch's newest rows.
        self.newest: dict[Branch, str] = {
            Branch(name): fingerprint for name, fingerprint in state.get("newest", {}).items()
        }
        #: Rows taken in, by branch, and those that there was no time for.
        self.rows: dict[str, int] = state.get("rows", {})
        self.left_out: int = state.get("left_out", 0)

    def series_of(self, stream: Stream) -> Series:
        if stream not in self.series:
            self.series[stream] = Series(stream.sides)
        return self.series[stream]

    def newest_stream(self, branch: Branch) -> Stream | None:
        """The branch's rows of what it answered with last."""
        fingerprint = self.newest.get(branch)
        return Stream("branch", branch, fingerprint) if fingerprint is not None else None

    def next_key(self) -> ChunkKey:
        """The name of what is written next; the monitor is a writer like any front's run."""
        self._number += 1
        return ChunkKey(self._writer, self._number)

    def forget_old(self, watermark: float) -> Changes:
        """Drop streams and profiles that nothing needs any more."""
        changes: Changes = {}
        for stream, series in list(self.series.items()):
            is_newest = self.newest.get(stream.branch) == stream.content
            if series.parts or is_newest or series.latest > watermark - _FORGOTTEN:
                continue
            del self.series[stream]
            changes[_SERIES, str(stream)] = None
            changes |= self.references.forget(str(stream))
        named = {part.bins.profile.id for series in self.series.values() for part in series.parts}
        return {**changes, **self.profiles.keep_only(named | self.references.named)}

    def saved(self, streams: Iterable[Stream], reports: Iterable[Branch] = ()) -> Changes:
        """What the store is to remember of these, and of the whole."""
        state = {
            "writer": self._writer,
            "number": self._number,
            "newest": self.newest,
            "rows": self.rows,
            "left_out": self.left_out,
        }
        return {
            **{(_SERIES, str(stream)): self.series[stream].encode() for stream in streams},
            **{(_REPORT, name): json.dumps(self.reports[name]).encode() for name in reports},
            _STATE: json.dumps(state).encode(),
        }
