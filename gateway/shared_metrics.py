"""The `gateway_shared_*` series and `gateway_replicas`: what the monitor says of other replicas.

Given out when they are asked for. Where nothing is shared there are none, so that an alert on
`gateway_shared_up == 0` is one on a Redis that should be there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)


class _Waiting(msgspec.Struct, frozen=True):
    chunks: int = 0


class _Shared(msgspec.Struct, frozen=True):
    """The part of the monitor's status document that is about other replicas."""

    role: str = ""
    trouble: str | None = None
    waiting: _Waiting = _Waiting()
    bytes: int | None = None
    paused: bool = False
    replicas: dict[str, Any] = {}
    skew: list[str] = []


#: The series, what it says, and its figure.
_FIGURES: tuple[tuple[str, str, Callable[[_Shared], float | None]], ...] = (
    (
        "gateway_shared_up",
        "1 while this replica shares with the others; 0 without its monitor or without Redis.",
        lambda said: said.trouble is None,
    ),
    (
        "gateway_shared_leads",
        "1 while this replica holds the lease: its monitor counts and publishes for all.",
        lambda said: said.role == "leads",
    ),
    (
        "gateway_shared_chunks_waiting",
        "Chunks of this replica that are not yet whole in Redis.",
        lambda said: said.waiting.chunks,
    ),
    (
        "gateway_shared_bytes",
        "Bytes that all replicas together hold in Redis; absent while that is not known.",
        lambda said: said.bytes,
    ),
    (
        "gateway_shared_paused",
        "1 while chunks wait on this replica's disk because redis.chunk_bytes are full.",
        lambda said: said.paused,
    ),
    (
        "gateway_replicas",
        "Replicas that are there, this one included, as its monitor sees them.",
        lambda said: len(said.replicas),
    ),
    (
        "gateway_replica_differences",
        "Where other replicas differ from this one: content, commit, settings, unit key.",
        lambda said: len(said.skew),
    ),
)


class SharedMetrics(Collector):
    """A collector of its own."""

    def __init__(self) -> None:
        self._document: Any = None
        self._said: _Shared | None = None

    def show(self, document: Any) -> None:
        """Take the `shared` of a status document; None where nothing is shared."""
        if document == self._document:
            return
        self._document, self._said = document, None
        try:
            self._said = None if document is None else msgspec.convert(document, _Shared)
        except msgspec.ValidationError as error:  # the other series matter more
            log.warning("no replicas in the metrics: the monitor's status: %s", error)

    def collect(self) -> Iterator[Metric]:
        for name, text, figure in _FIGURES:
            value = None if self._said is None else figure(self._said)
            yield GaugeMetricFamily(name, text, value=value)
