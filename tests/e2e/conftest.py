"""One fixture: a scene that plays a scripted model through a real gateway to the real client."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import ClaudeCode, Outcome
from tests.e2e.gateway import CREDENTIAL, build_config, running_gateway
from tests.e2e.modes import ANTHROPIC, Mode
from tests.e2e.script import Conversation, Script, play, read_conversation
from tests.e2e.wiretap import Wiretap
from tests.support.upstream import ScriptedUpstream

SCENARIO_SECONDS_MAX = 240


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scenarios take longer than unit tests, and carry their marker."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(SCENARIO_SECONDS_MAX))


@dataclass(frozen=True, slots=True)
class Invocation:
    """How the client is called, besides its prompt."""

    args: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    credential: str = CREDENTIAL
    mode: Mode = ANTHROPIC


@dataclass(frozen=True, slots=True)
class Played:
    """What a scene left behind: the client's outcome, what reached the upstream, what passed between the two."""

    outcome: Outcome
    upstream: list[Conversation]
    wire: Wiretap
    workspace: Path

    def of_agent(self, agent: str) -> list[Conversation]:
        """The upstream's requests of one agent, in order."""
        return [conversation for conversation in self.upstream if conversation.agent == agent]

    @property
    def agents(self) -> list[str]:
        """The agents that reached the upstream, in order of their first request."""
        return list(dict.fromkeys(conversation.agent for conversation in self.upstream))


@dataclass(frozen=True, slots=True)
class Scene:
    """Plays scenarios, each with its own gateway, database, HOME and workspace."""

    binary: Path
    directory: Path

    async def play(
        self,
        prompt: str,
        script: Script,
        *,
        overrides: Mapping[str, Any] | None = None,
        invocation: Invocation | None = None,
    ) -> Played:
        """Runs the client on `prompt`; `overrides` replaces top-level sections of the gateway's config."""
        how = invocation or Invocation()
        workspace = self.directory / "workspace"
        workspace.mkdir()
        async with ScriptedUpstream(play(script)) as upstream:
            config = build_config(upstream.base_url, self.directory) | dict(overrides or {})
            async with running_gateway(config, self.directory) as gateway, Wiretap(gateway.base_url) as wire:
                client = ClaudeCode(self.binary, wire.base_url, how.credential, self.directory / "home", how.mode)
                outcome = await client.run(prompt, workspace=workspace, args=how.args, environment=how.environment)
            posts = [read_conversation(received) for received in upstream.received if received.method == "POST"]
        return Played(outcome, posts, wire, workspace)


@pytest.fixture(scope="session")
def client_binary() -> Path:
    """The pinned client that scripts/test installs."""
    path = os.environ.get("RINGFENCE_CLIENT")
    if path is None:
        reason = "no Claude Code client: run scripts/test, which installs it, or set RINGFENCE_CLIENT"
        if os.environ.get("RINGFENCE_REQUIRE_CLIENT") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(path)


@pytest.fixture
def scene(client_binary: Path, tmp_path: Path) -> Scene:
    return Scene(client_binary, tmp_path)
