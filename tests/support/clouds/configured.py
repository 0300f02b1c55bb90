"""How an operator configures each backend: one line of `upstreams` for each of the fake clouds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.clouds.aws import FakeAws
from tests.support.clouds.bedrock import FakeBedrock
from tests.support.clouds.cloud import Cloud
from tests.support.clouds.foundry import FakeFoundry
from tests.support.clouds.vertex import LOCATION, PROJECT, FakeVertex

OWN_NAMES = {model: model for model in ("claude-opus-5-5", "claude-opus-4-8", "claude-sonnet-4-5-20250929")}


@dataclass(frozen=True, slots=True)
class Backend:
    """A fake cloud and the configuration that reaches it."""

    cloud: Callable[..., Cloud]
    keys: dict[str, Any]

    def upstream(self, cloud: Cloud, upstream_id: str = "main") -> dict[str, Any]:
        """The upstream's entry in the configuration."""
        suffix = "/anthropic" if isinstance(cloud, FakeFoundry) else ""
        return {"id": upstream_id, "base_url": cloud.base_url + suffix, **self.keys}


BACKENDS: dict[str, Backend] = {
    "bedrock": Backend(
        FakeBedrock, {"backend": "bedrock", "region": "us-east-1", "profile": "us", "bearer": "fake-bedrock-bearer"}
    ),
    "vertex": Backend(
        FakeVertex, {"backend": "vertex", "region": LOCATION, "project": PROJECT, "bearer": "fake-vertex-token"}
    ),
    "foundry": Backend(
        lambda *args: FakeFoundry(*args, deployments=OWN_NAMES), {"backend": "foundry", "api_key": "fake-foundry-key"}
    ),
    "aws": Backend(
        FakeAws,
        {"backend": "aws", "region": "us-east-1", "workspace": "wrkspc_fake", "api_key": "fake-platform-key"},
    ),
}
