"""One run of the client that somebody watches and steps into: a gateway, a scripted model, an operator with the CLI.

What reached the model is kept with its time. No test is here.
"""

import asyncio
import contextlib
import json
import re
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.client import ClaudeCode, Outcome
from tests.e2e.conftest import Invocation
from tests.e2e.gateway import OPERATOR_CREDENTIAL, ROOT, Gateway, build_config, running_gateway
from tests.e2e.script import Conversation, Script, play, read_conversation
from tests.e2e.wiretap import Wiretap
from tests.support.upstream import Answer, Received, ScriptedUpstream

WATCH_SECONDS = 0.1
"""How often somebody looks whether what is waited for is there."""
WAIT_SECONDS_MAX = 60.0
COMMAND_SECONDS_MAX = 30.0
FIRST_MESSAGE = re.compile(rb'"id":"msg_(main|a[0-9a-f]{16})_0"')
"""How the first answer of an agent begins, as `message_id` names it."""
ADMIN = "/ringfence/v1"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as it reached the model, and when (monotonic seconds)."""

    at: float
    conversation: Conversation

    @property
    def agent(self) -> str:
        return self.conversation.agent


@dataclass(slots=True)
class Model:
    """The scripted model, with every request that reached it."""

    script: Script
    arrivals: list[Arrival] = field(default_factory=list[Arrival])

    def answer(self, received: Received) -> Answer:
        if received.method == "POST":
            self.arrivals.append(Arrival(time.monotonic(), read_conversation(received)))
        return play(self.script)(received)

    @property
    def agents(self) -> list[str]:
        """Who reached it, main included, in order of their first request."""
        return list(dict.fromkeys(arrival.agent for arrival in self.arrivals))

    def of_agent(self, agent: str) -> list[Conversation]:
        return [arrival.conversation for arrival in self.arrivals if arrival.agent == agent]

    def asked(self, marker: str) -> list[Conversation]:
        """Requests whose first message carries `marker`."""
        return [arrival.conversation for arrival in self.arrivals if arrival.conversation.says(marker)]


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a command of the operator said."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class Live:
    """A running gateway with its model behind it, a client that may be started, and an operator."""

    binary: Path
    directory: Path
    gateway: Gateway
    upstream: ScriptedUpstream
    model: Model
    wire: Wiretap
    http: aiohttp.ClientSession
    session: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def workspace(self) -> Path:
        return self.directory / "workspace"

    async def run(self, prompt: str, invocation: Invocation | None = None) -> Outcome:
        """The client's run to its end."""
        how = invocation or Invocation()
        client = ClaudeCode(self.binary, self.wire.base_url, how.credential, self.directory / "home", how.mode)
        args = (*how.args, *(() if "--resume" in how.args else ("--session-id", self.session)))
        return await client.run(prompt, workspace=self.workspace, args=args, environment=how.environment)

    @contextlib.asynccontextmanager
    async def running(self, prompt: str, invocation: Invocation | None = None) -> AsyncIterator[asyncio.Task[Outcome]]:
        """The client runs beside the block; whoever leaves early ends it."""
        run = asyncio.create_task(self.run(prompt, invocation))
        try:
            yield run
        finally:
            if not run.done():
                run.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await run

    async def until(self, holds: Callable[[], bool], *, of: str) -> None:
        """Return once it holds; `of` says what was waited for."""
        await self.found(lambda: _ready(holds()), of=of)

    async def found(self, look: Callable[[], Any], *, of: str) -> Any:
        """What `look` (awaited) finds, once it finds something."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        never = asyncio.Event()
        while time.monotonic() < deadline:
            found = await look()
            if found:
                return found
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(never.wait(), WATCH_SECONDS)
        raise TimeoutError(f"{of}: not within {WAIT_SECONDS_MAX} s; the last records: {self.records()[-5:]}")

    def beginnings(self) -> dict[str, float]:
        """When (unix ms) the client received the beginning of each agent's first answer, by agent."""
        began: dict[str, float] = {}
        behind = time.time() - time.monotonic()
        for connection in self.wire.connections:
            sent = 0
            ends = [(sent := sent + len(piece), at) for at, piece in connection.received]
            for found in FIRST_MESSAGE.finditer(connection.answer):
                at = next(at for end, at in ends if end >= found.end())
                began.setdefault(found[1].decode(), (at + behind) * 1000)
        return began

    # --- the operator

    async def read(self, path: str) -> Any:
        """One of the operators' answers."""
        async with self.http.get(self.gateway.base_url + ADMIN + path) as answer:
            assert answer.status == 200, (path, answer.status, await answer.text())
            return await answer.json()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the gateway says to an operator's word."""
        async with self.http.post(self.gateway.base_url + ADMIN + path, json=dict(body)) as answer:
            assert answer.status == 200, (path, answer.status, await answer.text())
            return await answer.json()

    async def command(self, *words: str) -> Spoken:
        """`ringfence WORDS` as the operator types it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", *words),
            cwd=ROOT,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(self.directory),
                "RINGFENCE_URL": self.gateway.base_url,
                "RINGFENCE_CREDENTIAL": OPERATOR_CREDENTIAL,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS_MAX)
        assert process.returncode is not None
        return Spoken(process.returncode, stdout.decode(), stderr.decode())

    async def tree(self) -> dict[str, dict[str, Any]]:
        """The agents of the run's session as the gateway shows them, by id."""
        shown = await self.read(f"/sessions/{self.session}")
        return {agent["agent"]: agent for agent in shown["agents"]}

    async def waiting_approval(self) -> dict[str, Any]:
        """The first approval that waits, once there is one."""

        async def look() -> Any:
            return next(iter((await self.read("/approvals?state=waiting"))["approvals"]), None)

        return await self.found(look, of="an approval that waits")

    def records(self, event: str | None = None) -> list[dict[str, Any]]:
        """The audit trail as it stands; of one kind, when one is named."""
        if not self.gateway.audit_path.exists():
            return []
        found = [json.loads(line) for line in self.gateway.audit_path.read_text().splitlines() if line.endswith("}")]
        return [record for record in found if event in (None, record["event"])]


async def _ready(value: bool) -> bool:
    return value


@contextlib.asynccontextmanager
async def going_live(
    binary: Path, directory: Path, script: Script, overrides: Mapping[str, Any] | None = None
) -> AsyncIterator[Live]:
    """Serves until the block ends. `overrides` replaces top-level sections of the gateway's config."""
    (directory / "workspace").mkdir()
    model = Model(script)
    headers = {"authorization": f"Bearer {OPERATOR_CREDENTIAL}"}
    async with ScriptedUpstream(model.answer) as upstream, aiohttp.ClientSession(headers=headers) as http:
        config = build_config(upstream.base_url, directory) | dict(overrides or {})
        async with running_gateway(config, directory) as gateway, Wiretap(gateway.base_url) as wire:
            yield Live(binary, directory, gateway, upstream, model, wire, http)
