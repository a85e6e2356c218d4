"""From a recorded request to columns of values: what drift is measured of.

Pure. A `Block` is one request, decoded once; a `Batch` gathers blocks for one window and counts
them together, since a column at a time is many times cheaper than a row at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from gateway.chunks import Header, Request, Schema
from gateway.scores import score_of
from gateway.statistics.reference import DERIVED, LATENCY, PREDICTION, SCORE
from gateway.statistics.window import Window

#: Rows that are counted together.
BATCH_ROWS = 1024
_decode = msgspec.json.Decoder().decode


class Block(NamedTuple):
    """One request's rows. Without `instances` nothing is known of their inputs."""

    rows: int
    instances: Sequence[Any] | None
    #: What the model calls its inputs, in the order of an array's values; None if it does not say.
    names: tuple[str, ...] | None
    predictions: Sequence[Any] | None
    scores: Sequence[float | None] | None
    latency_ms: float | None
    unit: int


def block_of(request: Request, schema: Schema | None, header: Header) -> Block:
    """Decode a request; what is not recorded, or not to be looked at, is None."""
    recorded = request.instances
    readable = recorded is not None and len(recorded) == request.rows
    if header.features == "none" or (header.redact and not request.normalised):
        readable = False
    predictions = scores = None
    if request.predictions is not None and len(request.predictions) == request.rows:
        predictions = [_decode(raw) for raw in request.predictions]
        shares = request.probabilities
        if shares is not None and len(shares) == request.rows:
            classes = schema.classes if schema is not None else None
            scores = [
                score_of(bytes(value), bytes(share), classes)
                for value, share in zip(request.predictions, shares, strict=True)
            ]
    return Block(
        request.rows,
        [_decode(raw) for raw in recorded or ()] if readable else None,
        schema.columns if schema is not None else None,
        predictions,
        scores,
        request.latency_ms,
        _unit(request),
    )


def _unit(request: Request) -> int:
    """The unit's hash; a request without one is a unit of its own."""
    if request.unit is not None:
        return int(request.unit, 16)
    return int.from_bytes(blake2b(request.request_id.encode(), digest_size=8).digest())


class Batch:
    """Blocks for one window; `names` are the inputs that it counts, `hidden` those it may not."""

    def __init__(
        self, window: Window, names: Sequence[str], hidden: Collection[str], writer: str
    ) -> None:
        self.window = window
        self._names = names
        self._hidden = frozenset(hidden)
        self._writer = writer
        self._blocks: list[Block] = []
        self._rows = 0

    def add(self, block: Block) -> None:
        self._blocks.append(block)
        self._rows += block.rows
        if self._rows >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Count what was gathered."""
        kinds: dict[object, list[Block]] = {}
        for block in self._blocks:
            parts = (block.instances, block.predictions, block.latency_ms)
            kind = (*(part is None for part in parts), block.names)
            kinds.setdefault(kind, []).append(block)
        self._blocks, self._rows = [], 0
        for blocks in kinds.values():
            columns = columns_of(blocks, self._names, self._hidden)
            rows = sum(block.rows for block in blocks)
            self.window.add(rows, columns, [block.unit for block in blocks], self._writer)


def columns_of(
    blocks: Sequence[Block], names: Sequence[str], hidden: Collection[str] = ()
) -> dict[str, Sequence[Any]]:
    """A value of every row by column: of the inputs `names`, and of the derived columns.

    The blocks are alike in what they hold. A column of which they say nothing is not
    there; one that is not in a row is None there.
    """
    found: dict[str, Sequence[Any]] = {}
    if blocks[0].instances is not None:
        rows = [row for block in blocks for row in block.instances or ()]
        found = _inputs(
            rows, blocks[0].names, [name for name in names if name not in hidden], names
        )
    if blocks[0].predictions is not None:
        found[PREDICTION] = [value for block in blocks for value in block.predictions or ()]
        if any(block.scores is not None for block in blocks):
            found[SCORE] = [
                score for block in blocks for score in (block.scores or (None,) * block.rows)
            ]
    if blocks[0].latency_ms is not None:
        found[LATENCY] = [block.latency_ms for block in blocks for _ in range(block.rows)]
    return found


def _inputs(
    rows: Sequence[Any],
    own: tuple[str, ...] | None,
    wanted: Iterable[str],
    names: Sequence[str],
) -> dict[str, Sequence[Any]]:
    """`own` are the model's columns, `names` those that unnamed values stand for in their order."""
    order = own if own is not None else tuple(names)
    known = [name for name in wanted if name in set(order)]
    places = {name: place for place, name in enumerate(order)}
    kinds = set(map(type, rows))
    if kinds == {list} and set(map(len, rows)) == {len(order)}:
        columns = list(zip(*rows, strict=True))
        return {name: columns[places[name]] for name in known}
    if kinds == {dict}:
        return {name: [row.get(name) for row in rows] for name in known}
    mappings = [_mapping(row, order) for row in rows]
    return {name: [mapping.get(name) for mapping in mappings] for name in known}


def _mapping(row: Any, order: Sequence[str]) -> Mapping[str, Any]:
    if isinstance(row, dict):
        return row
    values = row if isinstance(row, list) else [row]
    return dict(zip(order, values, strict=False))


def input_names(block: Block) -> tuple[str, ...]:
    """What a block's inputs are called, where no reference says it."""
    if block.names is not None:
        return block.names
    first = block.instances[0] if block.instances else []
    if isinstance(first, dict):
        return tuple(name for name in first if name not in DERIVED)
    return tuple(map(str, range(len(first) if isinstance(first, list) else 1)))
