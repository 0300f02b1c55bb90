"""The backends we have code for, and the one function that turns a configured upstream into one that can be sent to.

A backend is its file, its test, its golden folder and one line here.
"""

from collections.abc import Callable

import aiohttp

from gateway.config import UpstreamConfig
from gateway.ports import Upstream
from gateway.upstreams.anthropic import AnthropicUpstream, build_session
from gateway.upstreams.simulated import SimulatedUpstream

__all__ = ["BACKENDS", "build_session", "build_upstream"]

BACKENDS: dict[str, Callable[[UpstreamConfig, aiohttp.ClientSession], Upstream]] = {
    "anthropic": AnthropicUpstream,
    "simulated": lambda config, _session: SimulatedUpstream.of(config),
}


def build_upstream(config: UpstreamConfig, session: aiohttp.ClientSession) -> Upstream:
    """The upstream a checked configuration names. `session` is the one of `build_session`.

    Raises `simulation.scenario.ScenarioInvalid` when the scenario file of a simulated upstream has problems.
    """
    return BACKENDS[config.backend](config, session)
