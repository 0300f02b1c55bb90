"""Everything that is wrong with the configured policies and the server that is to decide them, for people who ask.

Nothing is put on a server and nothing is served. What the gateway does at its start is `live.open_engine`.
"""

import asyncio

from gateway.config.model import Policy
from gateway.errors import GatewayError
from gateway.policy.loadcheck import check_bundle
from gateway.policy.opa import Limits, OpaEngine
from gateway.policy.opaclient import open_server
from gateway.policy.pushing import check_server
from gateway.policy.settings import Problem
from gateway.policy.sources import build_source
from gateway.ports import Clock

PROBE_MS = 5_000
"""For one call: longer than a decision may take, for people would rather wait."""


def policy_problems(policy: Policy, clock: Clock) -> list[Problem]:
    """Every problem. Call it where no event loop runs."""
    return asyncio.run(find_problems(policy, clock))


async def find_problems(policy: Policy, clock: Clock) -> list[Problem]:
    """Of the set as its source has it now, and of the OPA server."""
    problems = await _set_problems(policy) if policy.push else []
    return [*problems, *await _server_problems(policy, clock)] if policy.engine == "opa" else problems


async def _set_problems(policy: Policy) -> list[Problem]:
    source = build_source(policy)
    try:
        fetched = await source.read(fresh=True)
    except GatewayError as error:
        return [Problem(source.place, 0, error.message, "correct policy.path or policy.bundle")]
    assert fetched is not None
    return await asyncio.to_thread(check_bundle, fetched.bundle, {**policy.overrides, "mode": policy.mode})


async def _server_problems(policy: Policy, clock: Clock) -> list[Problem]:
    assert policy.url is not None
    async with open_server(policy.url, policy.token, PROBE_MS / 1000) as server:
        try:
            if policy.push:
                await check_server(server)
            else:
                await OpaEngine(server, clock, Limits(PROBE_MS), None).reload()
        except GatewayError as error:
            suggestion = "start the server, or correct policy.url and policy.token"
            if not policy.push:
                suggestion += "; its bundle must answer data.ringfence.decision"
            return [Problem("policy.url", 0, f"{policy.url}: {error.message}", suggestion)]
    return []
