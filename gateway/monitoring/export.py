"""The flat files of the seed layout, as a view: one branch's rows of a kind as one CSV stream.

Reads the remote through a cache of its own that lives as long as the stream; writes nothing into
git. Memory is bounded by a few segments, however many rows there are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gateway.errors import ContentError, MissingRef
from gateway.monitoring.layout import Kind, kind_folder, parse_path
from gateway.monitoring.publisher import side_branch
from gateway.monitoring.segments import COLUMNS
from gateway.names import Branch
from gateway.repositories.credentials import Credentials
from gateway.repositories.git import Git
from gateway.repositories.trees import Entry

_FETCHED = 256
_READ = 8


def export(
    repository: str,
    branch: Branch,
    kind: Kind,
    environ: Mapping[str, str],
    credentials: Credentials | None = None,
) -> Iterator[bytes]:
    """The header once, then every row at the branch's tip and on its side branch.

    In the order of the segments' times; rows of chunks written at once by two writers are not
    interleaved. Raises MissingRef if neither branch is on the remote, RemoteUnavailable.
    """
    header = (",".join(COLUMNS[kind]) + "\n").encode()
    with tempfile.TemporaryDirectory(prefix="gateway-export-") as folder:
        git = Git(Path(folder) / "cache", repository, environ, credentials=credentials)
        git.prepare()
        segments = _segments(git, branch, kind)
        yield header
        for start in range(0, len(segments), _FETCHED):
            fetched = segments[start : start + _FETCHED]
            git.prefetch(entry.oid for entry in fetched)
            for few in range(0, len(fetched), _READ):
                yield from _rows(git, fetched[few : few + _READ], header)


def _segments(git: Git, branch: Branch, kind: Kind) -> list[Entry]:
    found: dict[str, Entry] = {}
    missing = 0
    # The branch last: where both hold a path, its own is the one that counts.
    for source in (side_branch(branch), branch):
        try:
            tip = git.fetch_tip(source)
        except MissingRef:
            missing += 1
            continue
        folder = f"{kind_folder(kind)}/{branch.folder}"
        found |= {entry.path: entry for entry in git.ls_tree(tip, folder, recursive=True)}
    if missing == 2:
        raise MissingRef(f"the repository has neither {branch} nor {side_branch(branch)}")
    ours = [(parse_path(path), entry) for path, entry in found.items()]
    in_time = sorted((parsed.order, entry.path) for parsed, entry in ours if parsed)
    return [found[path] for _, path in in_time]


def _rows(git: Git, segments: Sequence[Entry], header: bytes) -> Iterator[bytes]:
    # Read whole before the first is handed on: a slow reader must not hold a git process.
    with git.blobs() as blobs:
        contents = [(entry.path, blobs.read(entry.oid)) for entry in segments]
    for path, content in contents:
        if not content.startswith(header):
            raise ContentError("its columns are not a segment's: someone changed it", where=path)
        yield content[len(header) :]
