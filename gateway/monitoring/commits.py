"""One monitoring commit: new segments on a tip, and the old ones it deletes.

Builds objects in the write cache; pushes nothing. Refuses any path that is not a segment's, and
never replaces a file that stands where a folder of ours would be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from gateway.chunks import ChunkKey
from gateway.config.sections import GATEWAY, MESSAGE
from gateway.errors import PushRefused
from gateway.layout import Kind, Segment, parse_path
from gateway.names import Commit
from gateway.repositories.git import Git

_BUILDING = "refs/gateway/building"
_ROOTS = ("monitoring", "logs")
_WORDS: Mapping[Kind, tuple[str, str]] = {
    "predictions": ("prediction", "predictions"),
    "drift": ("drift row", "drift rows"),
    "outcomes": ("outcome", "outcomes"),
    "results": ("result", "results"),
    "decisions": ("decision", "decisions"),
    "logs": ("log line", "log lines"),
}


@dataclass(frozen=True, slots=True)
class Wording:
    """Who commits (`Name <address>`), and the first line, with {contents} and {branch} in it."""

    author: str = GATEWAY
    committer: str = GATEWAY
    message: str = MESSAGE


def paths_of(git: Git, tip: Commit) -> frozenset[str]:
    """Every path below monitoring/ and logs/ at the tip, ours or not."""
    return frozenset(entry.path for entry in git.ls_paths(tip, _ROOTS, recursive=True))


def expired(paths: Iterable[str], now: datetime, retention: timedelta) -> list[str]:
    """The segments, of whatever branch's folder, whose whole day is older than `retention`."""
    parsed = ((path, parse_path(path)) for path in paths)
    return sorted(path for path, ours in parsed if ours and is_older(ours.day, now, retention))


def is_older(day: date, now: datetime, retention: timedelta) -> bool:
    """Whether the whole day lies further back than `retention`."""
    return datetime.combine(day, time.min, UTC) + timedelta(days=1) <= now - retention


def build(
    git: Git,
    tip: Commit | None,
    segments: Sequence[Segment],
    deleted: Collection[str],
    now: datetime,
    wording: Wording = Wording(),
) -> Commit:
    """The commit's id; an orphan without `tip`. Everything of the tip but ours stays as it is."""
    for path in (*deleted, *(segment.path for segment in segments)):
        if parse_path(path) is None:
            raise ValueError(f"not a segment's path: {path!r}")
    when = f"{int(now.timestamp())} +0000"
    message = message_of(segments, wording.message).encode()
    stream = [
        f"commit {_BUILDING}\nmark :1\nauthor {wording.author} {when}\n"
        f"committer {wording.committer} {when}\ndata {len(message)}\n".encode(),
        message,
        f"\nfrom {tip}\n".encode() if tip else b"\n",
    ]
    stream += [f"D {path}\n".encode() for path in deleted]
    for segment in segments:
        head = f"M 100644 inline {segment.path}\ndata {len(segment.content)}\n"
        stream += [head.encode(), segment.content, b"\n"]
    stream.append(b"\nget-mark :1\ndone\n")
    made = git.run(
        ["fast-import", "--quiet", "--done", "--force", "--date-format=raw"],
        stdin=b"".join(stream),
    )
    return Commit(made.decode().strip())


def message_of(segments: Sequence[Segment], first_line: str = MESSAGE) -> str:
    """`first_line` with what is in it and of which branch, and the chunks it was made of."""
    rows: dict[Kind, int] = defaultdict(int)
    for segment in segments:
        rows[segment.kind] += segment.rows
    parts = [f"{count} {_WORDS[kind][count != 1]}" for kind, count in rows.items()]
    trailers = "".join(f"Gateway-Chunks: {line}\n" for line in _ranges(segments))
    line = first_line.format(contents=", ".join(parts), branch=segments[0].branch)
    return f"{line}\n\n{trailers}"


def obstacle(paths: Collection[str], segments: Iterable[Segment]) -> None:
    """PushRefused if a file of someone else is in the way of a folder of ours."""
    for segment in segments:
        parts = segment.path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder in paths:
                raise PushRefused(f"{folder} is a file there, and segments need it as a folder")


def _ranges(segments: Iterable[Segment]) -> list[str]:
    """`writer/first-last` for each unbroken run of chunks."""
    keys = sorted({segment.key for segment in segments})
    runs: list[list[ChunkKey]] = []
    for key in keys:
        if runs and runs[-1][-1] == ChunkKey(key.writer, key.number - 1):
            runs[-1].append(key)
        else:
            runs.append([key])
    return [f"{run[0]}-{run[-1].number}" if len(run) > 1 else str(run[0]) for run in runs]
