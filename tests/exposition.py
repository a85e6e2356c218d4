"""What the gateway's metrics say, as a Prometheus server reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import Metrics


def samples(
    metrics: Metrics, *prefixes: str, without: str = "gateway_"
) -> dict[tuple[str, ...], float]:
    """The samples whose names begin with one of `prefixes`, by name less `without`, and labels."""
    text = metrics.render()[0].decode()
    return {
        (sample.name.removeprefix(without), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(prefixes)
    }
