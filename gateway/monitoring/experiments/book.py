"""All that is remembered of experiments: loaded whole, saved in parts, with what they came from.

What is changed here holds once the ledger has it; if that fails, a new book is opened.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from gateway.chunks import ChunkKey
from gateway.experiments.cells import Cell, CellKey, thinned
from gateway.experiments.evidence import Evidence
from gateway.experiments.metrics import EXPOSURE, PAIRED, Metric
from gateway.monitoring.experiments.known import Known
from gateway.names import BUCKETS
from gateway.store.ledger import Ledger, scope

_STATE = ("experiment", "state")
#: Runs of fronts whose arms' first answers are remembered.
_WRITERS = 8
#: Rows of the index at most: units in sets, requests, copies' answers and outcomes.
MOST_INDEXED = 2_000_000
#: New contrasts get more of the units again where it has no more rows than this part of that.
_ROOM_AGAIN = 8


class State(msgspec.Struct):
    """The small things. Times are Unix seconds."""

    writer: str
    number: int = 0
    excluded: dict[str, int] = {}
    feedback: dict[str, int] = {}
    #: Buckets of units that are kept, of 256, since when, and about how many rows the index has.
    kept: int = BUCKETS
    kept_since: float = 0.0
    indexed: int = 0
    #: What each metric is, and since when.
    metrics: dict[str, Metric] = {}
    since: dict[str, float] = {}
    #: By a front's run: arms that have answered in it.
    answered: dict[str, list[str]] = {}
    #: Everything before it was read.
    watermark: float = 0.0
    #: The newest epoch of any request.
    epoch: str | None = None


class Book:
    """The present state. Not thread-safe."""

    def __init__(self, ledger: Ledger) -> None:
        self.known = Known.load(ledger)
        said = ledger.recall(_STATE[0]).get(_STATE[1])
        self.state = msgspec.json.decode(said, type=State) if said else State(secrets.token_hex(4))
        #: What is in no row yet.
        self.fresh: dict[CellKey, Cell] = {}
        #: Contrasts whose cells changed since somebody looked, and those of which it matters at
        #: once: an event that guardrails count, or a row that was written.
        self.changed: set[str] = set(self.known.contrasts)
        #: Those that the ledger does not have as they are in `fresh`.
        self._unsaved: set[CellKey] = set()
        self.urgent: set[str] = set()
        #: Units first seen in an epoch, by contrast, epoch and arm.
        self.units: Counter[tuple[str, str, str]] = Counter()
        for contrast in self.known.contrasts:
            for key, written, fresh in ledger.cells(contrast):
                if fresh is not None:
                    self.fresh[key] = fresh
                for cell in (written, fresh):
                    if cell is not None:
                        self._sum(key, cell)

    def _sum(self, key: CellKey, cell: Cell) -> None:
        if key.metric == EXPOSURE:
            self.units[key.contrast, key.epoch, key.arm] += cell.units

    def evidence(
        self,
        name: str,
        written: Mapping[CellKey, Cell],
        live: Mapping[CellKey, Cell],
        *,
        current: bool = True,
    ) -> Evidence:
        """These cells of a contrast, with all that is known of it."""
        known = self.known.contrasts[name]
        commits = (known.commits.get(known.baseline, ""), known.commits.get(known.candidate, ""))
        shares = {epoch: share for epoch, share in known.shares.items() if share}
        return Evidence(
            known.contrast, commits, shares, written, live, current=current, shadow=known.shadow
        )

    def next_key(self) -> ChunkKey:
        """The name of what is written next; experiments are a writer like any front's run."""
        self.state.number += 1
        return ChunkKey(self.state.writer, self.state.number)

    def add(self, cells: Mapping[CellKey, Cell]) -> None:
        """What a batch adds to the cells; to be saved."""
        for key, cell in cells.items():
            self._sum(key, cell)
            if key in self.fresh:
                self.fresh[key].add(cell)
            else:
                self.fresh[key] = cell
            metric = self.state.metrics.get(key.metric.removeprefix(PAIRED))
            if metric is not None:
                self.known.counts(key.contrast, metric)
        self._unsaved |= cells.keys()
        self.changed |= {key.contrast for key in cells}
        self.urgent |= {
            key.contrast
            for key, cell in cells.items()
            if cell.events and key.metric != EXPOSURE and not self.window(key)
        }

    def mature(self, watermark: float) -> list[CellKey]:
        """The cells that nothing can be added to any more, in their order."""
        found = [key for key in self.fresh if key.end + self.window(key) <= watermark]
        return sorted(found, key=lambda key: (key.end, key))

    def window(self, key: CellKey) -> float:
        """How long outcomes are waited for, by what the contrast measures or last measured."""
        if key.metric == EXPOSURE:
            return 0.0
        name = key.metric.removeprefix(PAIRED)
        metric = self.known.contrasts[key.contrast].metrics.get(name, self.state.metrics.get(name))
        return metric.window if metric is not None else 0.0

    def thin(self, ledger: Ledger, now: float) -> bool:
        """Keep the index within its bound by half of the units, and half again; whether it was.

        What came of unknown requests goes first.
        """
        state = self.state
        if state.indexed <= MOST_INDEXED:
            return False
        # An estimate: not all that was forgotten was taken off.
        state.indexed = ledger.size()
        if state.indexed <= MOST_INDEXED:
            return False
        kept = state.kept
        ledger.thin(kept)
        state.indexed = ledger.size()
        while state.indexed > MOST_INDEXED * 3 // 4 and state.kept > 1:
            state.kept, state.kept_since = state.kept // 2, now
            ledger.thin(state.kept)
            state.indexed = ledger.size()
        self.known.keep(state.kept)
        for key, cell in self.fresh.items():
            self.fresh[key] = thinned(key, cell, self.known.contrasts[key.contrast].kept)
        self._unsaved |= self.fresh.keys()
        return state.kept < kept

    def make_room_again(self, ledger: Ledger, now: float, longest: float) -> None:
        """Keep more of the units, of contrasts to come, if there was room for the longest time."""
        state = self.state
        if state.kept >= BUCKETS or now < state.kept_since + longest:
            return
        state.indexed = ledger.size()
        if state.indexed <= MOST_INDEXED // _ROOM_AGAIN:
            state.kept, state.kept_since = state.kept * 2, now

    def count(self, totals: dict[str, int], more: Mapping[str, int]) -> None:
        for name, number in more.items():
            totals[name] = totals.get(name, 0) + number

    def answered_in(self, writer: str) -> set[str]:
        return set(self.state.answered.get(writer, ()))

    def note_answered(self, writer: str, arms: Iterable[str]) -> None:
        answered = self.state.answered
        answered.pop(writer, None)
        answered[writer] = sorted(arms)
        while len(answered) > _WRITERS:
            del answered[next(iter(answered))]

    def save(self, ledger: Ledger) -> None:
        """Have the ledger remember what changed."""
        ledger.keep_fresh({key: self.fresh[key] for key in self._unsaved & self.fresh.keys()})
        self._unsaved = set()
        ledger.remember({**self.known.changes(), _STATE: msgspec.json.encode(self.state)})

    def forget_metric(self, ledger: Ledger, contrast: str, name: str) -> None:
        """Everything that was counted of a metric in a contrast."""
        for one in (name, PAIRED + name):
            ledger.forget_cells("contrast = ? AND metric = ?", contrast, one)
        ledger.forget_units(scope("event", contrast, name))
        self.fresh = {
            key: cell
            for key, cell in self.fresh.items()
            if (key.contrast, key.metric.removeprefix(PAIRED)) != (contrast, name)
        }
        self.changed.add(contrast)

    def forget_contrast(self, ledger: Ledger, contrast: str) -> None:
        """Everything of a contrast that was not seen for long."""
        ledger.forget_cells("contrast = ?", contrast)
        self.fresh = {key: cell for key, cell in self.fresh.items() if key.contrast != contrast}
        for kind in ("arm", "epoch", "event"):
            ledger.forget_units(scope(kind, contrast))
        self.known.forget(contrast)
        self.changed.discard(contrast)
