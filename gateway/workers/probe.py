"""Does a loaded model answer as it must? Golden rows, else example rows, else recent ones.

`probe` before it serves; `again` while it serves, or is left out for its failures.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import ModelError, ProbeError
from gateway.statistics.reference import ProfileError, parse_profile
from gateway.workers.process import Worker
from gateway.workers.wire import ERROR, OK

_MOST_EXAMPLES = 20
#: Of a worker that serves: callers may be waiting for it meanwhile.
_MOST_AGAIN = 5
_GOLDEN = "metrics/golden.json"
_REFERENCE = "metrics/reference.json"


class Golden(msgspec.Struct, frozen=True):
    """`metrics/golden.json`."""

    instances: list[Any]
    predictions: list[Any]
    tolerance: float = 1e-9


class Probed(msgspec.Struct, frozen=True):
    """With what a model was probed: golden, examples, recent or unprobed; and what to report."""

    by: str
    rows: int = 0
    trouble: str | None = None


class Evidence(msgspec.Struct, frozen=True):
    """What a snapshot brings to be probed with."""

    golden: Golden | None
    examples: list[Any]


def evidence(root: Path) -> Evidence:
    """Read from disk, so not on the event loop. ProbeError where a file is malformed."""
    return Evidence(_golden(root / _GOLDEN), _examples(root / _REFERENCE))


def _golden(path: Path) -> Golden | None:
    if not path.is_file():
        return None
    try:
        golden = msgspec.json.decode(path.read_bytes(), type=Golden)
    except (msgspec.DecodeError, OSError, RecursionError) as error:
        raise ProbeError(
            f'must be {{"instances": [...], "predictions": [...], "tolerance": 1e-9}}: {error}',
            where=_GOLDEN,
        ) from error
    if not golden.instances or len(golden.instances) != len(golden.predictions):
        raise ProbeError(
            "must hold as many predictions as instances, and at least one. "
            f"Given: {len(golden.instances)} instances, {len(golden.predictions)} predictions",
            where=_GOLDEN,
        )
    if not 0 <= golden.tolerance < math.inf:
        raise ProbeError(f"tolerance must be at least 0. Given: {golden.tolerance}", where=_GOLDEN)
    return golden


def check_reference(root: Path, columns: Sequence[str] | None) -> None:
    """ProbeError where there is a profile and it is none of this model.

    `columns` are the model's, if it names any. A file of examples alone is no profile.
    """
    data, reference = _reference(root / _REFERENCE)
    if "columns" not in reference:
        return
    try:
        parse_profile(data, columns)
    except ProfileError as error:
        raise ProbeError(str(error), where=_REFERENCE) from error


def _examples(path: Path) -> list[Any]:
    examples = _reference(path)[1].get("examples", [])
    if not isinstance(examples, list):
        raise ProbeError("must be an object whose examples are a list", where=_REFERENCE)
    return examples[:_MOST_EXAMPLES]


def _reference(path: Path) -> tuple[bytes, dict[str, Any]]:
    if not path.is_file():
        return b"", {}
    try:
        data = path.read_bytes()
        reference = msgspec.json.decode(data)
    except (msgspec.DecodeError, OSError, RecursionError) as error:
        raise ProbeError(f"must be JSON: {error}", where=_REFERENCE) from error
    if not isinstance(reference, dict):
        raise ProbeError("must be an object whose examples are a list", where=_REFERENCE)
    return data, reference


async def probe(
    worker: Worker,
    root: Path,
    recent: Iterable[bytes],
    deadline: float,
    columns: Sequence[str] | None = None,
) -> Probed:
    """ProbeError if golden or example rows fail; recent rows that fail are only reported.

    Also where the snapshot's reference profile is malformed, or not of the model's `columns`.
    """
    found = await asyncio.to_thread(evidence, root)
    await asyncio.to_thread(check_reference, root, columns)
    if found.golden is not None:
        await _check(worker, found.golden, deadline)
        return Probed("golden", len(found.golden.instances))
    if found.examples:
        await _predictions(worker, found.examples, deadline, _REFERENCE)
        return Probed("examples", len(found.examples))
    payloads = list(recent)
    for payload in payloads:
        try:
            status, _, message, *_ = await worker.ask(payload, deadline)
        except ModelError as error:
            return Probed("recent", len(payloads), str(error))
        if status != OK:
            return Probed("recent", len(payloads), message.decode("utf-8", "replace"))
    return Probed("recent", len(payloads)) if payloads else Probed("unprobed")


async def again(worker: Worker, root: Path, recent: Sequence[bytes], deadline: float) -> Probed:
    """A few rows, each a request of its own within the deadline of one.

    ProbeError or ModelError where a row fails. Recent requests count only as far as the model
    can use them: others may have been answered by the model before it.
    """
    found = await asyncio.to_thread(evidence, root)
    if (golden := found.golden) is not None:
        rows = list(zip(golden.instances, golden.predictions, strict=True))[:_MOST_AGAIN]
        for instance, prediction in rows:
            await _check(worker, Golden([instance], [prediction], golden.tolerance), deadline)
        return Probed("golden", len(rows))
    if examples := found.examples[:_MOST_AGAIN]:
        for example in examples:
            await _predictions(worker, [example], deadline, _REFERENCE)
        return Probed("examples", len(examples))
    answered = 0
    for payload in recent[-_MOST_AGAIN:]:
        status, _, message, *_ = await worker.ask(payload, deadline)
        if status == ERROR:
            raise ModelError(f"a recent request: {message.decode('utf-8', 'replace')}")
        answered += status == OK
    return Probed("recent", answered) if answered else Probed("unprobed")


async def _check(worker: Worker, golden: Golden, deadline: float) -> None:
    given = await _predictions(worker, golden.instances, deadline, _GOLDEN)
    wrong = [
        row
        for row, (wanted, got) in enumerate(zip(golden.predictions, given, strict=True))
        if not agrees(wanted, got, golden.tolerance)
    ]
    if wrong:
        first = wrong[0]
        raise ProbeError(
            f"{len(wrong)} of {len(given)} predictions differ by more than "
            f"{golden.tolerance:g}; the first in row {first}: must be "
            f"{golden.predictions[first]!r}. Given: {given[first]!r}",
            where=_GOLDEN,
        )


async def _predictions(
    worker: Worker, instances: list[Any], deadline: float, where: str
) -> list[Any]:
    try:
        status, _, text, *_ = await worker.ask(msgspec.json.encode(instances), deadline)
    except ModelError as error:
        raise ProbeError(f"its rows are not answered: {error}", where=where) from error
    if status != OK:
        message = text.decode("utf-8", "replace")
        raise ProbeError(f"its rows are not answered: {message}", where=where)
    return msgspec.json.decode(text, type=list[Any])


def agrees(wanted: Any, given: Any, tolerance: float) -> bool:
    """Numbers within the tolerance, lists item by item, everything else exactly."""
    if isinstance(wanted, list):
        return (
            isinstance(given, list)
            and len(given) == len(wanted)
            and all(agrees(w, g, tolerance) for w, g in zip(wanted, given, strict=True))
        )
    if _is_number(wanted) and _is_number(given):
        return bool(wanted == given or abs(wanted - given) <= tolerance)
    return type(wanted) is type(given) and bool(wanted == given)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
