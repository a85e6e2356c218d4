"""What building branches' environments takes, as series; for all branches, since they share."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0)
_ENDS = ("built", "shared", "failed", "away")


class EnvironmentMetrics:
    """Ready to `inc`, `set` and `observe`; without a registry nobody sees them."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        ends = Counter(
            "gateway_environment_builds_total",
            "Environments that a load asked for: built; shared, as it was there; failed, which"
            " quarantines the commit; away, tried again.",
            ["result"],
            registry=registry,
        )
        self.builds = {end: ends.labels(end) for end in _ENDS}
        self.seconds = Histogram(
            "gateway_environment_build_seconds",
            "Time to build an environment that was not there.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.kept = Gauge(
            "gateway_environments", "Environments on the disk, used or kept.", registry=registry
        )
