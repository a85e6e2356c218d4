"""The read-out of a repository alone: its results rows, added up as the monitor adds them up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from gateway.errors import MissingRef
from gateway.experiments.document import ContrastReadout, ExperimentReadout
from gateway.monitoring.published import Contents, Published, published, sources_of
from gateway.names import Branch
from gateway.repositories.credentials import Credentials
from gateway.repositories.folder import Folder
from gateway.timestamps import rfc3339


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What the rows of one candidate say; `bad` are lines that are no rows, by place and reason."""

    contrasts: list[ContrastReadout]
    salt: str
    bad: list[str]


#: Paths of segments and what they hold, to what that says.
Recompute = Callable[[Iterable[tuple[str, str]]], Recomputed]
_ALONE = (
    "Recomputed from the repository's rows alone: they are of what is mature and not deleted by"
    " retention. The newest content of each candidate stands for the one that is served; what is"
    " live, such as allocation and the last hours' guardrails, only the gateway knows."
)
_NO_ROWS = "The repository holds no results rows."


def of_repository(
    repository: str | Folder,
    candidate: Branch | None,
    recompute: Recompute,
    environ: Mapping[str, str],
    credentials: Credentials | None = None,
    now: Callable[[], float] = time.time,
) -> ExperimentReadout:
    """What the rows of one candidate, or of every one that has some, add up to.

    Raises MissingRef if the candidate is nowhere, RemoteUnavailable.
    """
    with published(repository, environ, credentials) as opened:
        found = [recompute(_texts(segments)) for segments in _segments(opened, candidate)]
    contrasts = tuple(one for candidates in found for one in candidates.contrasts)
    newest = max(contrasts, key=lambda one: (one.until, one.since), default=None)
    salts = {one.salt for one in found if newest in one.contrasts}
    bad = [line for one in found for line in one.bad]
    warnings = [_ALONE if contrasts else _NO_ROWS]
    if bad:
        warnings.append(f"{len(bad):,} lines are no rows and left out, such as {bad[0]}.")
    return ExperimentReadout(
        written=rfc3339(now()),
        baseline=newest.baseline if newest else "",
        salt=salts.pop() if salts else "",
        epoch=newest.epochs[-1].epoch if newest and newest.epochs else None,
        contrasts=contrasts,
        warnings=tuple(warnings),
    )


def _segments(found: Published, candidate: Branch | None) -> Iterator[Contents]:
    """Of each candidate: what lies in its own branches, or in others if it has none any more."""
    if candidate is None:
        for branch, heads in sorted(found.holders("results").items()):
            own = [source for source in sources_of(branch) if source in heads]
            yield found.contents(branch, "results", own or heads)
        return
    try:
        yield found.contents(candidate, "results", sources_of(candidate))
    except MissingRef:
        # Merged and deleted, perhaps: then the rows went along.
        heads = found.holders("results").get(candidate, [])
        if not heads:
            raise
        yield found.contents(candidate, "results", heads)


def _texts(segments: Contents) -> Iterator[tuple[str, str]]:
    for path, content in segments:
        # What is no text can only be someone's own: then it is no row either.
        yield path, content.decode(errors="replace")
