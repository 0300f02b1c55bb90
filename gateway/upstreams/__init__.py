"""The one function that turns a configured upstream into one that can be sent to.

A backend is `<name>.py` here with a `build`, its test, its golden folder and its line in `gateway/config/backends.py`.
It is imported only when an upstream of it is configured: it may need a cloud's library.
"""

from collections.abc import Callable
from importlib import import_module
from typing import cast

import aiohttp

from gateway.config import UpstreamConfig
from gateway.ports import Upstream
from gateway.upstreams.http import build_session
from gateway.upstreams.libraries import library_of

__all__ = ["build_session", "build_upstream"]

Build = Callable[[UpstreamConfig, aiohttp.ClientSession], Upstream]


def build_upstream(config: UpstreamConfig, session: aiohttp.ClientSession) -> Upstream:
    """The upstream a checked configuration names. `session` is the one of `build_session`.

    Raises:
        GatewayError: the library of its cloud is not installed; the message names the extra.
        simulation.scenario.ScenarioInvalid: the scenario file of a simulated upstream has problems.
    """
    with library_of(config):
        build = cast(Build, import_module(f"{__name__}.{config.backend}").build)
        return build(config, session)
