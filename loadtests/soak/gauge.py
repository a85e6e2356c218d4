"""Memory and descriptors of every process of the gateway, looked at again and again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.processes import Tree, kibibytes

#: Those whose size says something; git's come and go.
LASTING = ("front", "monitor", "worker")


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one time, in bytes: what is resident, and its share of what is shared."""

    at: float
    pid: int
    kind: str
    resident: int
    share: int
    descriptors: int


def look(tree: Tree, at: float) -> list[Sample]:
    """All lasting processes; one that ends meanwhile is left out."""
    samples = []
    for pid, kind in tree.labels().items():
        if kind not in LASTING:
            continue
        resident = kibibytes(pid, "smaps_rollup", "Rss")
        share = kibibytes(pid, "smaps_rollup", "Pss")
        try:
            descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        if resident is not None and share is not None:
            samples.append(Sample(at, pid, kind, resident, share, descriptors))
    return samples
