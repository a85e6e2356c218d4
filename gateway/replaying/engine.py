"""Recorded requests in, replayed rows out: each by what answered it, or all by one branch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gateway.config.sections import BranchConfig, LimitsConfig
from gateway.config.trust import TrustConfig
from gateway.errors import BranchError, ModelError, RepositoryError
from gateway.names import Branch, Commit, Fingerprint
from gateway.naming import few
from gateway.replaying.bringing import Bringer, Brought
from gateway.replaying.comparing import TOLERANCE, compared, row_of
from gateway.replaying.document import Computer, ReplayedRow, Word
from gateway.replaying.recorded import Recorded, lacking, payloads, rows_of
from gateway.workers.alone import Model, Outcome
from gateway.workers.launch import Launch
from gateway.workers.wire import OK

#: Requests that are asked, and said to be done, at once.
_AT_ONCE = 128
_MOST_NAMES = 5

#: Told how many rows are done.
Advance = Callable[[int], None]

_NO_FEATURES = (
    "its features are not in the repository: `monitoring.features` was `journal` or `none`, or a"
    " column is redacted and nothing tells it apart"
)
_AS_SENT = (
    "src/serve.py was given it as it was sent, which may have held more than its model's columns;"
    " the row holds these alone"
)
_NOBODY = "no model was loaded that could have answered it"


@dataclass(frozen=True, slots=True)
class How:
    """How models are run here: `launch` says what a branch's snapshot is started with, and keeps
    it there meanwhile; `branches` are their settings, as far as they are known."""

    launch: Callable[[Branch, Path], AbstractAsyncContextManager[Launch]]
    branches: Mapping[Branch, BranchConfig] = field(default_factory=dict)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    trust: TrustConfig = field(default_factory=TrustConfig)
    tolerance: float = TOLERANCE
    #: Columns that the settings redact: a row does not say that it lacks one.
    redact: tuple[str, ...] = ()

    def of(self, branch: Branch) -> BranchConfig:
        return self.branches.get(branch) or BranchConfig()


@dataclass(slots=True)
class Replayed:
    """Rows in the order of their requests, and what computed them."""

    rows: list[ReplayedRow] = field(default_factory=list)
    computers: list[Computer] = field(default_factory=list)


async def replay(
    requests: Sequence[Recorded], bringer: Bringer, how: How, advance: Advance
) -> Replayed:
    """Each request by the content that answered it; what cannot be computed says why."""
    found = Replayed()
    by_request: dict[int, list[ReplayedRow]] = {}
    for (branch, commit, content), places in _contents(requests).items():
        mine = [requests[place] for place in places]
        if commit is None or content is None:
            made = [_all(request, "unknown", _NOBODY) for request in mine]
        else:
            made = await _by_own(mine, (branch, commit, content), bringer, how, advance, found)
        by_request |= dict(zip(places, made, strict=True))
    found.rows = [row for place in sorted(by_request) for row in by_request[place]]
    return found


async def _by_own(
    requests: Sequence[Recorded],
    content: tuple[Branch, Commit, Fingerprint],
    bringer: Bringer,
    how: How,
    advance: Advance,
    found: Replayed,
) -> list[list[ReplayedRow]]:
    if not any(request.whole for request in requests):
        return [_all(request, "unknown", _NO_FEATURES) for request in requests]
    try:
        brought = bringer.commit(*content)
        return await _by(brought, requests, how, advance, found, own=True)
    except (RepositoryError, BranchError) as error:
        return [_all(request, "unknown", str(error)) for request in requests]


async def replay_by(
    brought: Brought, requests: Sequence[Recorded], how: How, advance: Advance
) -> Replayed:
    """Every request by one content. LoadError, NotStarted."""
    found = Replayed()
    made = await _by(brought, requests, how, advance, found, own=False)
    found.rows = [row for rows in made for row in rows]
    return found


async def _by(
    brought: Brought,
    requests: Sequence[Recorded],
    how: How,
    advance: Advance,
    found: Replayed,
    *,
    own: bool,
) -> list[list[ReplayedRow]]:
    """`own`: by what answered them, so that what is lacking was taken out."""
    made: list[list[ReplayedRow]] = []
    branch = brought.branch
    async with (
        how.launch(branch, brought.root) as launch,
        Model(
            brought.root,
            brought.model,
            f"{branch} at {brought.commit}",
            launch,
            config=how.of(branch),
            limits=how.limits,
            rules=how.trust.rules_of(branch),
        ) as model,
    ):
        found.computers.append(
            Computer(
                brought.branch,
                brought.commit,
                brought.fingerprint,
                brought.found,
                model.ready.versions,
                model.ready.accelerated["form"],
            )
        )
        for some in _batched(requests, _AT_ONCE):
            made += await _asked(model, some, how, own=own)
            advance(sum(len(request.rows) for request in some))
    return made


async def _asked(
    model: Model, requests: Sequence[Recorded], how: How, *, own: bool
) -> list[list[ReplayedRow]]:
    columns = model.ready.columns
    is_own_code = model.ready.kind == "custom"
    made: dict[int, list[ReplayedRow]] = {}
    asked: dict[int, list[bytes]] = {}
    for place, request in enumerate(requests):
        if not request.whole:
            made[place] = _all(request, "unknown", _NO_FEATURES)
        elif request.answered and (missing := lacking(request, columns)):
            word: Word = "unknown" if own else "failed"
            made[place] = _all(request, word, _lacks(missing, own=own))
        else:
            asked[place] = payloads(request, columns, own=is_own_code)
    outcomes = await model.answers([forms[0] for forms in asked.values()])
    for place, outcome in zip(asked, outcomes, strict=True):
        rows = _judged(model, requests[place], outcome, how)
        for form in asked[place][1:]:
            # What ends the process is a failure of its own, in whatever form it comes.
            if isinstance(outcome, ModelError) or all(row.word == "same" for row in rows):
                break
            [other] = await model.answers([form])
            again = _judged(model, requests[place], other, how)
            if _rank(again) < _rank(rows):
                rows = again
        if own and is_own_code and how.redact and any(row.word != "same" for row in rows):
            rows = _all(requests[place], "unknown", _taken_out(how.redact))
        elif own and is_own_code and columns:
            rows = [
                msgspec.structs.replace(row, why=_AS_SENT) if row.word == "different" else row
                for row in rows
            ]
        made[place] = rows
    return [made[place] for place in range(len(requests))]


def _rank(rows: Iterable[ReplayedRow]) -> int:
    """How well the rows speak for the form in which they were asked."""
    words: tuple[Word, ...] = ("same", "different", "unknown", "failed")
    return max(words.index(row.word) for row in rows)


def _judged(model: Model, request: Recorded, outcome: Outcome, how: How) -> list[ReplayedRow]:
    if isinstance(outcome, ModelError):
        return _failed(request, str(outcome))
    status, _, first, second, _ = outcome
    if status != OK:
        return _failed(request, first.decode("utf-8", "replace"))
    return compared(
        request,
        rows_of(first),
        rows_of(second) if second else None,
        model.ready.classes,
        how.tolerance,
    )


def _failed(request: Recorded, message: str) -> list[ReplayedRow]:
    """Not answered now: as then, or otherwise."""
    if request.status in ("invalid", "error"):
        return _all(
            request, "same", f"it was not answered then either ({request.status}): {message}"
        )
    return _all(request, "failed", message)


def _all(request: Recorded, word: Word, why: str) -> list[ReplayedRow]:
    return [row_of(request, row, word, why) for row in request.rows]


def _lacks(missing: Sequence[str], *, own: bool) -> str:
    named = few(missing, _MOST_NAMES)
    if own:
        return f"the row does not hold {named}: redacted, so it is written nowhere"
    return f"rows do not hold {named}: they hold the columns of what answered them"


def _taken_out(redact: Sequence[str]) -> str:
    return (
        f"`monitoring.redact` takes out {', '.join(redact)}, and src/serve.py may have used it: the"
        " row as it was asked is written nowhere"
    )


Content = tuple[Branch, Commit | None, Fingerprint | None]


def _contents(requests: Sequence[Recorded]) -> dict[Content, list[int]]:
    """The places of the requests by what answered them."""
    found: dict[Content, list[int]] = {}
    for place, one in enumerate(requests):
        found.setdefault((one.branch, one.commit, one.fingerprint), []).append(place)
    return found


def _batched(requests: Sequence[Recorded], size: int) -> Iterator[Sequence[Recorded]]:
    for start in range(0, len(requests), size):
        yield requests[start : start + size]
