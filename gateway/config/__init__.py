"""gateway.yaml: text becomes `Config`, or a `ConfigError` with every mistake in it."""

from gateway.config.document import load_config, parse_config
from gateway.config.settings import (
    RESTART_ONLY,
    BranchConfig,
    Config,
    LimitsConfig,
    MonitoringConfig,
    UnitSource,
)

__all__ = [
    "RESTART_ONLY",
    "BranchConfig",
    "Config",
    "LimitsConfig",
    "MonitoringConfig",
    "UnitSource",
    "load_config",
    "parse_config",
]
