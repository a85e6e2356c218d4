"""The keeper of experiments over one state directory, for tests that write its journal."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import msgspec
from journalling import DEV, EXP, METRICS, PROD, World

from gateway.experiments.cells import Cell, CellKey
from gateway.experiments.document import ContrastReadout, ExperimentReadout
from gateway.layout import Kind, Segment
from gateway.monitoring.experiments.keeper import Experiments
from gateway.monitoring.monitor_settings import (
    ArmSettings,
    ExperimentSettings,
    Monitoring,
    MonitorSettings,
)
from gateway.repositories.credentials import Credentials
from gateway.store.ledger import Ledger
from gateway.store.outcomes import outcomes_in
from gateway.store.sqlite import SqliteStore

SPAN = 10


def settings(folder: Path, **changes: Any) -> MonitorSettings:
    arms = {"prod": ArmSettings(50.0, "p"), "exp": ArmSettings(50.0, "e")}
    experiment = ExperimentSettings(metrics=METRICS, salt="s", branches=arms)
    return MonitorSettings(
        repository="r",
        state_dir=folder,
        monitoring=Monitoring(flush=60.0, retention=14 * 86400.0, journal_bytes=1 << 30),
        branches=(PROD, EXP),
        credentials=Credentials(),
        stamp="1",
        baseline=PROD,
        experiment=msgspec.structs.replace(experiment, **changes),
    )


class Monitor:
    """The keeper of experiments over one state directory, which can be killed."""

    def __init__(self, folder: Path, world: World, **changes: Any) -> None:
        self.settings = settings(folder, **changes)
        self.world = world
        self.store = folder / "store.sqlite"
        with SqliteStore(self.store):
            pass
        self.ledger = Ledger(self.store)
        self.ledger.__enter__()
        self.begin()

    def begin(self) -> None:
        self.keeper = Experiments(
            self.ledger, now=lambda: self.world.now, clock=lambda: self.world.now
        )

    def kill(self) -> None:
        self.ledger.__exit__(None, None, None)
        self.ledger = Ledger(self.store)
        self.ledger.__enter__()
        self.begin()

    def step(self) -> None:
        assert self.keeper.step(self.settings, lambda: False)

    def cells(self) -> dict[CellKey, Cell]:
        """All of every cell, written or not."""
        found: dict[CellKey, Cell] = {}
        for contrast in self.ledger.recall("experiment contrasts"):
            for key, *parts in self.ledger.cells(contrast):
                whole = found.setdefault(key, Cell())
                for part in parts:
                    if part is not None:
                        whole.add(part)
        return found

    def end(self) -> None:
        self.ledger.__exit__(None, None, None)

    def serves(self) -> None:
        """The front wrote down what the world's branches serve."""
        found = {
            branch: {"fingerprint": fingerprint, "commit": "c" * 40, "tip": "c" * 40}
            for branch, fingerprint in self.world.contents.items()
        }
        (self.settings.state_dir / "served.json").write_text(json.dumps(found))

    def later(self, seconds: float) -> None:
        """Time goes by, with nothing but turns."""
        self.world.now += seconds
        self.step()

    def finish(self) -> None:
        self.keeper.finish(self.settings, lambda: False)

    def document(self) -> ExperimentReadout:
        data = (self.settings.state_dir / "experiment.json").read_bytes()
        return msgspec.json.decode(data, type=ExperimentReadout)

    def readout(self) -> ContrastReadout:
        """Of what is served."""
        (found,) = [one for one in self.document().contrasts if one.current]
        return found

    def allocation(self) -> dict[str, Any]:
        data = json.loads((self.settings.state_dir / "allocation.json").read_bytes())
        found: dict[str, Any] = data["branches"]
        return found

    def segments(self, kind: Kind) -> list[Segment]:
        """What was handed over to be published, oldest first."""
        return [
            segment
            for key in sorted({one.key for one in self.ledger.outgoing()})
            for branch in (PROD, EXP, DEV)
            for segment in self.ledger.segments(key, branch)
            if segment.kind == kind
        ]

    def rows(self, kind: Kind) -> list[dict[str, str]]:
        return [
            row
            for segment in self.segments(kind)
            for row in csv.DictReader(segment.content.decode().splitlines())
        ]

    def outcomes(self, request_id: str) -> list[tuple[str, str, int]]:
        """Metric, status and duplicates of what was told of a request."""
        found = outcomes_in(self.store, request_id)
        return [(one.metric, one.status, one.duplicates) for one in found]


def told(cells: dict[CellKey, Cell]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Those in which anything is but tallies, as `counted_anew` says it."""
    found = {}
    for key, cell in cells.items():
        names = ("units", "events", "values", "counts")
        sums = {name: getattr(cell, name) for name in names}
        if any(sums.values()):
            found[key.contrast, key.start, key.epoch, key.arm, key.metric] = sums
    return found
