"""The table of backends builds what a configuration names."""

from pathlib import Path

import pytest

from gateway.config import UpstreamConfig
from gateway.upstreams import BACKENDS, build_session, build_upstream
from gateway.upstreams.anthropic import AnthropicUpstream
from gateway.upstreams.simulated import SimulatedUpstream
from gateway.upstreams.simulation.scenario import ScenarioInvalid


async def test_each_backend_builds_its_adapter_under_the_configured_id() -> None:
    kinds = {"anthropic": AnthropicUpstream, "simulated": SimulatedUpstream}
    async with build_session() as session:
        for name in BACKENDS:
            upstream = build_upstream(UpstreamConfig(id=f"my-{name}", backend=name), session)
            assert isinstance(upstream, kinds[name])
            assert (upstream.id, upstream.backend) == (f"my-{name}", name)


async def test_scenario_without_suffix_names_a_packaged_one() -> None:
    async with build_session() as session:
        upstream = build_upstream(UpstreamConfig(id="a", backend="simulated", scenario=Path("/etc/demo")), session)
        assert isinstance(upstream, SimulatedUpstream)
        with pytest.raises(ScenarioInvalid, match="name a file, or one of: demo"):
            build_upstream(UpstreamConfig(id="a", backend="simulated", scenario=Path("/etc/dmeo")), session)
