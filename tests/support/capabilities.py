"""The packaged capability table, and what an upstream of each backend takes by it."""

from pathlib import Path
from typing import Any

import yaml

import gateway
from gateway.config.backends import BACKENDS
from gateway.core.bridging.capabilities import parse_capabilities
from gateway.core.bridging.support import Support

DOCUMENT: dict[str, Any] = yaml.safe_load((Path(gateway.__file__).parent / "capabilities.yaml").read_text())
TABLE = parse_capabilities(DOCUMENT)
NEW, OLD = "claude-opus-5-5", "claude-sonnet-4-5-20250929"
"""A model that has about everything, and one that Bedrock names with a version suffix."""


def support(backend: str, **overrides: Any) -> Support:
    """What an upstream of this backend takes; `cells` and `betas` as it may be configured."""
    return TABLE.support(backend, BACKENDS[backend].shape, **overrides)
