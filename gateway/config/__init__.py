"""The configuration: a file read strictly, checked as a whole, then frozen. It builds nothing and opens no connection.

load_config(path, environ) -> Config, or ConfigInvalid with every problem at once
"""

from gateway.config.document import Problem
from gateway.config.load import ConfigInvalid, load_config, parse_config
from gateway.config.model import (
    Audit,
    BreakerConfig,
    Config,
    CredentialConfig,
    Identity,
    Listen,
    Org,
    Policy,
    Prices,
    Route,
    Secret,
    Store,
    Team,
    UpstreamConfig,
)

__all__ = [
    "Audit",
    "BreakerConfig",
    "Config",
    "ConfigInvalid",
    "CredentialConfig",
    "Identity",
    "Listen",
    "Org",
    "Policy",
    "Prices",
    "Problem",
    "Route",
    "Secret",
    "Store",
    "Team",
    "UpstreamConfig",
    "load_config",
    "parse_config",
]
