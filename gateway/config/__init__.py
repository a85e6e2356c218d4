"""gateway.yaml: text becomes `Config`, or a `ConfigError` with every mistake in it."""

from gateway.config.document import load_config, parse_config
from gateway.config.drift import DriftConfig, ReferenceConfig
from gateway.config.sections import (
    BranchConfig,
    CredentialsConfig,
    LimitsConfig,
    MonitoringConfig,
    UnitSource,
    WebhookConfig,
)
from gateway.config.settings import RESTART_ONLY, Config, OperatorConfig, TeamConfig

__all__ = [
    "RESTART_ONLY",
    "BranchConfig",
    "Config",
    "CredentialsConfig",
    "DriftConfig",
    "LimitsConfig",
    "MonitoringConfig",
    "OperatorConfig",
    "ReferenceConfig",
    "TeamConfig",
    "UnitSource",
    "WebhookConfig",
    "load_config",
    "parse_config",
]
