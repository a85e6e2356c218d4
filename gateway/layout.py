"""Where segments lie in a branch's tree, and which paths there are the gateway's at all.

Pure text. Every path that is ever written or deleted passes `parse_path`, which knows nothing
outside monitoring/ and logs/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from gateway.chunks import ChunkKey
from gateway.names import Branch, InvalidName

Kind = Literal["predictions", "drift", "outcomes", "results", "decisions", "logs"]

_PATH = re.compile(
    r"(?:monitoring/(?P<kind>predictions|drift|outcomes|results|decisions)|(?P<logs>logs))"
    r"/(?P<folder>[^/]+)/(?P<day>\d{4}-\d\d-\d\d)"
    r"/(?P<time>\d{6})Z-(?P<writer>[0-9a-f]{8})-(?P<number>[1-9]\d*)\.(?P<suffix>csv|jsonl)"
)


@dataclass(frozen=True, slots=True)
class SegmentPath:
    """A path of ours, taken apart; `time` is HHMMSS in UTC."""

    kind: Kind
    branch: Branch
    day: date
    time: str
    key: ChunkKey

    @property
    def order(self) -> tuple[date, str, ChunkKey]:
        """Sorts segments by time."""
        return (self.day, self.time, self.key)


@dataclass(frozen=True, slots=True)
class Segment:
    """One new file of a branch, of a chunk or the monitor's own; `rows` without the header."""

    key: ChunkKey
    kind: Kind
    branch: Branch
    path: str
    content: bytes
    rows: int


def kind_folder(kind: Kind) -> str:
    return "logs" if kind == "logs" else f"monitoring/{kind}"


def segment_path(kind: Kind, branch: Branch, opened: datetime, key: ChunkKey) -> str:
    """The path of a chunk's segment; `opened` in UTC."""
    suffix = "jsonl" if kind == "logs" else "csv"
    name = f"{opened:%H%M%S}Z-{key.writer}-{key.number}.{suffix}"
    return f"{kind_folder(kind)}/{branch.folder}/{opened:%Y-%m-%d}/{name}"


def parse_path(path: str) -> SegmentPath | None:
    """None for any path that is not exactly a segment's: it belongs to someone else."""
    match = _PATH.fullmatch(path)
    if match is None or (match["suffix"] == "jsonl") != bool(match["logs"]):
        return None
    try:
        branch = Branch.of_folder(match["folder"])
        day = date.fromisoformat(match["day"])
    except (InvalidName, ValueError):
        return None
    kind: Kind = "logs" if match["logs"] else _KINDS[match["kind"]]
    key = ChunkKey(match["writer"], int(match["number"]))
    return SegmentPath(kind, branch, day, match["time"], key)


_KINDS: dict[str, Kind] = {
    "predictions": "predictions",
    "drift": "drift",
    "outcomes": "outcomes",
    "results": "results",
    "decisions": "decisions",
}
