"""gateway.yaml: text becomes `Config`, or a `ConfigError` with every mistake in it."""

from gateway.config.access import AccessConfig, TlsConfig
from gateway.config.document import load_config, parse_config
from gateway.config.drift import DriftConfig, ReferenceConfig
from gateway.config.environments import EnvironmentsConfig
from gateway.config.experiment import MetricConfig
from gateway.config.ramp import RampConfig
from gateway.config.sections import (
    BranchConfig,
    CredentialsConfig,
    LimitsConfig,
    MonitoringConfig,
    RedisConfig,
    UnitSource,
    WebhookConfig,
)
from gateway.config.settings import RESTART_ONLY, Config, OperatorConfig, TeamConfig
from gateway.config.trust import TrustConfig

__all__ = [
    "RESTART_ONLY",
    "AccessConfig",
    "BranchConfig",
    "Config",
    "CredentialsConfig",
    "DriftConfig",
    "EnvironmentsConfig",
    "LimitsConfig",
    "MetricConfig",
    "MonitoringConfig",
    "OperatorConfig",
    "RampConfig",
    "RedisConfig",
    "ReferenceConfig",
    "TeamConfig",
    "TlsConfig",
    "TrustConfig",
    "UnitSource",
    "WebhookConfig",
    "load_config",
    "parse_config",
]
