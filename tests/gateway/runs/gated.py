"""A whole gateway with what it does for runs, in front of a scripted upstream. No test lives here."""

import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.app import SystemClock, build_api, build_routes, profile_script
from gateway.assembly import RequestPath, build_path
from gateway.config import parse_config
from gateway.core.decisions.decision import Principal
from gateway.ground import Ground, open_ground
from gateway.runs.asked import AgentAsked, Answer, RunAsked
from gateway.runs.gate import RunGate, Setting
from gateway.web.health import build_metrics_app
from tests.support.gateway import Serving, config_document, request_body
from tests.support.upstream import Answer as Reply
from tests.support.upstream import Received, ScriptedUpstream, json_answer, message, text_block

ALICE = Principal(org="acme", team="platform", user="alice", credential="alice-laptop")
SCRIPT = "export const meta = {name: 'sweep', description: 'd'}\nawait agent('look')"
SHA256 = "ab" * 32
SESSION, RUN = "run-session", "wf_abcdef"


def hello(_: Received) -> Reply:
    return json_answer(message([text_block("Hello.")]))


@dataclass(frozen=True, slots=True)
class Gated:
    """What a runtime is given, and what people and clients see."""

    serving: Serving
    gate: RunGate
    ground: Ground
    path: RequestPath
    upstream: ScriptedUpstream

    async def spawn(self, agent: str = "a1", **fields: Any) -> Answer:
        """An agent of alice's run is asked about."""
        told: dict[str, Any] = {"principal": ALICE, "session": SESSION, "run": RUN, "run_name": "sweep"}
        told |= {"agent": agent, "prompt": "look", **fields}
        return await self.gate.decide_spawn(AgentAsked(**told))

    async def ask(self, agent: str = "a1", *, secret: str = "", run: str = RUN) -> tuple[int, dict[str, Any]]:
        """A model request of an agent, with alice's credential or another one."""
        headers = {"x-ringfence-session-id": SESSION, "x-ringfence-agent-id": agent, "x-ringfence-run-id": run}
        headers |= {"x-claude-code-session-id": ""} | ({"x-api-key": secret} if secret else {})
        async with self.serving.post(request_body(stream=False), headers=headers) as response:
            return response.status, await response.json()

    def decisions(self, kind: str) -> list[dict[str, Any]]:
        """Audit records of decisions, oldest first."""
        return [each for each in self.serving.audit("decision") if each["kind"] == kind]

    def counted(self) -> tuple[int, int]:
        """Agents of the run's session and of the run."""
        session, run = self.ground.tree.session(SESSION), self.ground.tree.run(RUN)
        return (0 if session is None else session.spawned(), 0 if run is None else len(run.agents))


def run_asked(**fields: Any) -> RunAsked:
    told: dict[str, Any] = {"principal": ALICE, "session": SESSION, "run": RUN, "name": "sweep"}
    told |= {"script": SCRIPT, "script_sha256": SHA256, **fields}
    return RunAsked(**told)


@contextlib.asynccontextmanager
async def gated(directory: Path, *, asks_people: bool = True, **sections: Any) -> AsyncGenerator[Gated]:
    """Serve until the block ends."""
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream(hello))
        document = json.dumps(config_document(directory, upstream.base_url, **sections))
        clock = SystemClock()
        ground = await open_ground(parse_config(document, directory / "ringfence.yaml", {}), clock, stack)
        path = await build_path(ground, profile_script, 15.0)
        stack.push_async_callback(ground.tasks.close, 1.0)
        api = build_api(ground.authenticator, path.pipeline, build_routes(ground, path))
        urls = [await _listening(stack, app) for app in (api, build_metrics_app(ground.metrics.page))]
        client = await stack.enter_async_context(aiohttp.ClientSession())
        setting = Setting(ground.authenticator.current, profile_script, ground.prices.catalogue, asks_people)
        gate = RunGate(path.decider, path.boards, path.lineages, ground.store, ground.metrics, clock, setting)
        serving = Serving(urls[0], urls[1] + "/metrics", directory, client)
        yield Gated(serving, gate, ground, path, upstream)


async def _listening(stack: contextlib.AsyncExitStack, app: web.Application) -> str:
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"
