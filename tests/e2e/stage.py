"""One gateway in front of one strict cloud, where several runs of the client play at once. What each left is a `Run`.

The cloud judges what the real client's requests became on their way; no test of its own is here.
"""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.client import ClaudeCode, Outcome
from tests.e2e.gateway import CREDENTIAL, Gateway, build_config, running_gateway
from tests.e2e.modes import Mode
from tests.e2e.script import Conversation
from tests.e2e.wiretap import Wiretap
from tests.support.clouds.cloud import Arrived, Cloud

POOR_CREDENTIAL = "rf_bob_0123456789abcdefghijklmnopqrstuvwxyz0"
"""Of a user whose budget is below the price of any request."""
SECTIONS: dict[str, Any] = {
    "org": {"id": "acme", "teams": [{"id": "platform", "users": ["alice", "bob"]}]},
    "identity": {
        "credentials": [
            {"id": "alice-laptop", "secret": CREDENTIAL, "user": "alice"},
            {"id": "bob-laptop", "secret": POOR_CREDENTIAL, "user": "bob"},
        ]
    },
    "budgets": [
        {"account": "org", "window": "monthly", "limit_usd": 50000, "strict": True},
        {"account": "user:bob", "window": "daily", "limit_usd": 0.01, "strict": True},
    ],
    "routes": [{"models": ["*"], "upstreams": ["main"]}],
}


@dataclass(frozen=True, slots=True)
class Part:
    """One run of the client: what it is asked, and how it is called."""

    prompt: str
    mode: Mode
    credential: str = CREDENTIAL
    args: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Run:
    """What one run left behind: the client's outcome, its requests as they reached the cloud, and what was recorded."""

    outcome: Outcome
    arrived: list[Arrived]
    """Also those that the cloud refused."""
    wire: Wiretap
    workspace: Path
    session: str
    audit_path: Path

    @property
    def upstream(self) -> list[Conversation]:
        """What arrived in the Claude API's form, whatever the cloud's."""
        return [Conversation(arrived, arrived.normal.body) for arrived in self.arrived]

    @property
    def requests(self) -> tuple[int, int]:
        """Requests of the client, requests that reached the cloud."""
        return self.wire.request_count, len(self.arrived)

    def recorded(self, event: str) -> list[dict[str, Any]]:
        """The audit's records of one kind; complete when the stage is closed, a moment after the client's end."""
        records = map(json.loads, self.audit_path.read_text().splitlines())
        mine = [record for record in records if (record.get("lineage") or {}).get("session") == self.session]
        return [record for record in mine if record["event"] == event]


@dataclass(frozen=True, slots=True)
class Stage:
    """A gateway that serves, and the cloud behind it."""

    binary: Path
    gateway: Gateway
    cloud: Cloud

    async def play(self, *parts: Part) -> list[Run]:
        """Runs the client once for each part, all at once, each with its own HOME, workspace and session."""
        played = [(part, str(uuid.uuid4())) for part in parts]
        return await asyncio.gather(*(self._play(part, session) for part, session in played))

    async def _play(self, part: Part, session: str) -> Run:
        directory = self.gateway.directory / session
        workspace = directory / "workspace"
        workspace.mkdir(parents=True)
        async with Wiretap(self.gateway.base_url) as wire:
            client = ClaudeCode(self.binary, wire.base_url, part.credential, directory / "home", part.mode)
            args = (*part.args, "--session-id", session)
            outcome = await client.run(part.prompt, workspace=workspace, args=args, environment=part.environment)
        return Run(outcome, self._arrived(session), wire, workspace, session, self.gateway.audit_path)

    def _arrived(self, session: str) -> list[Arrived]:
        """By the body, where the client names its session too: not every cloud is sent the headers of lineage."""
        told = [(each, each.normal.body.get("metadata", {})) for each in self.cloud.received]
        return [each for each, metadata in told if session in metadata.get("user_id", "")]


@contextlib.asynccontextmanager
async def open_stage(
    binary: Path,
    directory: Path,
    cloud: Cloud,
    upstream: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Stage]:
    """Serves until the block ends. `upstream` is the cloud's configuration without its id and address."""
    async with cloud:
        suffix = "/anthropic" if upstream["backend"] == "foundry" else ""
        entry = {"id": "main", "base_url": cloud.base_url + suffix, **upstream}
        config = build_config("", directory) | SECTIONS | {"upstreams": [entry]}
        async with running_gateway(config, directory, environment) as gateway:
            try:
                yield Stage(binary, gateway, cloud)
            except TimeoutError as error:
                error.add_note(f"the gateway's last records: {gateway.audit_path.read_text()[-4000:]}")
                raise
