"""The real Claude Code client as a player: scrubbed, in a fresh home, pointed at loopback with a demo credential.

Not an installer: `scripts/demo --claude` fetches the pinned client.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from gateway.commands.demo.narration import Narrator
from gateway.commands.demo.player import Call, Ending, Part
from gateway.commands.demo.workspace import AGENT_TOOL
from gateway.commands.output import EXIT_USAGE, CommandFailed
from gateway.config.values import is_loopback
from gateway.contract import MAIN_AGENT

CLIENT_VARIABLE = "RINGFENCE_CLIENT"
MODEL = "claude-opus-4-8"
RUN_SECONDS_MAX = 120.0
SYNTHETIC_MODEL = "<synthetic>"
"""Of messages that the client writes itself, such as an error, which its result says again."""
LINE_BYTES_MAX = 16 * 1024 * 1024
"""Longest line of the client's output: a line carries a whole message."""

# No start-up probes, no telemetry, no update; and root may skip permission prompts, for Ringfence decides here.
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "IS_SANDBOX": "1",
}


def find_client(environ: Mapping[str, str]) -> Path:
    """The client binary that the script installed. Raises CommandFailed."""
    named = environ.get(CLIENT_VARIABLE)
    if not named:
        message = f"--claude needs Claude Code: run scripts/demo --claude, which fetches it, or set {CLIENT_VARIABLE}"
        raise CommandFailed(message, EXIT_USAGE)
    if not os.access(named, os.X_OK):
        raise CommandFailed(
            f"{CLIENT_VARIABLE} is {named}, which cannot be run: run scripts/demo --claude to fetch it", EXIT_USAGE
        )
    return Path(named)


@dataclass(frozen=True, slots=True)
class ClaudeCode:
    """Implements `player.Player`. Runs share `home`, so that a session can be resumed."""

    binary: Path
    url: str
    credential: str = field(repr=False)
    home: Path
    narrator: Narrator

    def __post_init__(self) -> None:
        if not is_loopback(urlsplit(self.url).hostname or ""):
            raise ValueError(f"the client may only be pointed at this machine, not at {self.url}")

    @property
    def name(self) -> str:
        """The client and its version, which is the folder that it was installed to."""
        return f"Claude Code {self.binary.parent.name}"

    async def play(self, prompt: str, part: Part) -> Ending:
        """`claude -p PROMPT`, told as it goes; past RUN_SECONDS_MAX its process group is killed."""
        self.home.mkdir(exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            str(self.binary),
            *("-p", prompt, "--output-format", "stream-json", "--verbose", "--model", MODEL),
            *("--dangerously-skip-permissions", "--resume" if part.resumed else "--session-id", part.session),
            cwd=part.workspace,
            env=self.environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            limit=LINE_BYTES_MAX,
        )
        assert process.stdout is not None
        listener = Listener(self.narrator)
        try:
            async with asyncio.timeout(RUN_SECONDS_MAX):
                async for line in process.stdout:
                    listener.hear(line)
                await process.wait()
        except TimeoutError:
            raise CommandFailed(f"Claude Code did not end within {RUN_SECONDS_MAX:.0f} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return listener.ending

    def environment(self) -> dict[str, str]:
        """All that the client sees of this machine."""
        return QUIET | {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "CLAUDE_CODE_TMPDIR": str(self.home),
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_AUTH_TOKEN": self.credential,
        }


class Listener:
    """Understands the client's `stream-json` output: a message per line."""

    def __init__(self, narrator: Narrator) -> None:
        self.ending = Ending()
        self._narrator = narrator
        self._agents: dict[str, str] = {}

    def hear(self, line: bytes) -> None:
        """One line; what is no JSON object or means nothing here is passed over."""
        with contextlib.suppress(ValueError):
            said = _mapping(json.loads(line))
            if said.get("type") == "result":
                self._result(said)
            elif _mapping(said.get("message")).get("model") != SYNTHETIC_MODEL:
                who = self._agents.get(str(said.get("parent_tool_use_id")), MAIN_AGENT)
                for block in _blocks(said):
                    self._block(who, block, said=said.get("type") == "assistant")

    def _block(self, who: str, block: dict[str, Any], *, said: bool) -> None:
        """`said`: by an agent; else it is what an agent was sent, of which only results of agents are told."""
        if block.get("type") == "text" and said:
            self._narrator.tell(who, str(block.get("text")))
        elif block.get("type") == "tool_use":
            tool, tool_input = str(block.get("name")), _mapping(block.get("input"))
            if tool == AGENT_TOOL:
                self._agents[str(block.get("id"))] = str(tool_input.get("description"))
            self.ending.calls.append(Call(tool, tool_input))
            self._narrator.call(who, tool, tool_input)
        elif block.get("type") == "tool_result" and block.get("tool_use_id") in self._agents:
            self._report(self._agents[str(block.get("tool_use_id"))], block)

    def _report(self, agent: str, block: dict[str, Any]) -> None:
        """A refused agent reports its refusal; other reports come wrapped in the client's own words: left out."""
        if block.get("is_error") is True:
            self._narrator.tell(agent, f"REFUSED  {str(block.get('content')).partition(';')[0]}", "bold red")
        else:
            self._narrator.tell(agent, "has reported")

    def _result(self, said: dict[str, Any]) -> None:
        text = str(said.get("result") or "")
        if said.get("is_error"):
            self.ending.refusal = text
            self._narrator.tell(MAIN_AGENT, f"REFUSED  {text}", "bold red")
        else:
            self.ending.text = text


def _blocks(said: dict[str, Any]) -> list[dict[str, Any]]:
    content = _mapping(said.get("message")).get("content")
    return [_mapping(block) for block in cast("list[Any]", content)] if isinstance(content, list) else []


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
