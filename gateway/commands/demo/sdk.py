"""A small coding agent on the official `anthropic` SDK: turns, real tools, sub-agents side by side. Not Claude Code."""

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import anthropic
import httpx2
from anthropic.types import MessageParam, ToolParam, ToolResultBlockParam, ToolUseBlock

from gateway.commands.demo.narration import Narrator
from gateway.commands.demo.player import Call, Ending, Part
from gateway.commands.demo.workspace import AGENT_TOOL, TOOLS, ToolFailed, use_tool
from gateway.contract import AGENT_HEADERS, MAIN_AGENT, SESSION_HEADERS

MODEL = "claude-opus-5-5"
MAX_TOKENS = 4_096
TURNS_MAX = 20
REQUEST_SECONDS = 60.0


@dataclass(slots=True)
class Conversation:
    """One agent of a session: who it is, what was said, and where what reaches it is noted."""

    part: Part
    agent: str
    label: str
    ending: Ending
    messages: list[MessageParam] = field(default_factory=list[MessageParam])

    def headers(self) -> dict[str, str]:
        """Lineage as Claude Code states it: the main agent names its session only."""
        headers = {SESSION_HEADERS[0]: self.part.session}
        if self.agent != MAIN_AGENT:
            headers[AGENT_HEADERS[0]] = self.agent
        return headers


class SdkAgent:
    """Implements `player.Player`. Remembers its sessions, so that one can go on after it was stopped."""

    name = f"anthropic SDK {anthropic.__version__}"

    def __init__(self, client: anthropic.AsyncAnthropic, narrator: Narrator) -> None:
        self._client = client
        self._narrator = narrator
        self._histories: dict[str, list[MessageParam]] = {}

    async def play(self, prompt: str, part: Part) -> Ending:
        """The main agent of a session on one prompt."""
        ending = Ending()
        history = self._histories.setdefault(part.session, [])
        talk = Conversation(part, MAIN_AGENT, MAIN_AGENT, ending, history)
        history.append({"role": "user", "content": prompt})
        try:
            ending.text = await self._work(talk)
        except anthropic.APIStatusError as error:
            ending.refusal = refusal_of(error)
            self._narrator.tell(talk.label, f"REFUSED  {ending.refusal}", "bold red")
        return ending

    async def _work(self, talk: Conversation) -> str:
        """Turn after turn until the model asks for no tool; its last words."""
        for _ in range(TURNS_MAX):
            calls, text = await self._turn(talk)
            if not calls:
                return text
            results = await asyncio.gather(*(self._carry_out(talk, call) for call in calls))
            talk.messages.append({"role": "user", "content": results})
        return f"stopped after {TURNS_MAX} turns"

    async def _turn(self, talk: Conversation) -> tuple[list[ToolUseBlock], str]:
        texts: list[str] = []
        calls: list[ToolUseBlock] = []
        async with self._client.messages.stream(
            model=MODEL,
            max_tokens=MAX_TOKENS,
            system=f"You are a coding agent.\nWorking directory: {talk.part.workspace}\n",
            messages=talk.messages,
            tools=cast("Iterable[ToolParam]", TOOLS),
            extra_headers=talk.headers(),
        ) as stream:
            async for event in stream:
                if event.type != "content_block_stop":
                    continue
                block = event.content_block
                if block.type == "text":
                    texts.append(block.text)
                    self._narrator.tell(talk.label, block.text)
                elif block.type == "tool_use":
                    calls.append(block)
                    talk.ending.calls.append(Call(block.name, _fields(block)))
                    self._narrator.call(talk.label, block.name, _fields(block))
            message = await stream.get_final_message()
        talk.messages.append({"role": "assistant", "content": message.content})
        return calls, "\n".join(texts)

    async def _carry_out(self, talk: Conversation, call: ToolUseBlock) -> ToolResultBlockParam:
        failed = False
        try:
            if call.name == AGENT_TOOL:
                result = await self._sub_agent(talk, _fields(call))
            else:
                result = use_tool(talk.part.workspace, call.name, _fields(call))
        except ToolFailed as failure:
            failed, result = True, str(failure)
        return {"type": "tool_result", "tool_use_id": call.id, "content": result, "is_error": failed}

    async def _sub_agent(self, talk: Conversation, asked: dict[str, Any]) -> str:
        """A refused agent reports the refusal, as Claude Code's agents do, and its main agent goes on."""
        prompt = str(asked.get("prompt"))
        label, agent = str(asked.get("description")), f"a{secrets.token_hex(8)}"
        under = Conversation(talk.part, agent, label, talk.ending, [{"role": "user", "content": prompt}])
        try:
            return await self._work(under)
        except anthropic.APIStatusError as error:
            self._narrator.tell(under.label, f"REFUSED  {refusal_of(error).partition(';')[0]}", "bold red")
            return f"The agent ended early: {refusal_of(error)}"


def open_client(url: str, credential: str) -> anthropic.AsyncAnthropic:
    """The SDK as a user sets it up, with its own retries, but never through a proxy: the gateway is on this machine.

    The SDK takes proxies from the environment whatever `trust_env` says, unless it is given a transport.
    """
    direct = anthropic.DefaultAsyncHttpxClient(
        transport=httpx2.AsyncHTTPTransport(trust_env=False), trust_env=False, timeout=REQUEST_SECONDS
    )
    return anthropic.AsyncAnthropic(base_url=url, api_key=credential, http_client=direct)


def refusal_of(error: anthropic.APIStatusError) -> str:
    """Status and the gateway's own words."""
    body: Any = error.body
    inner = cast("dict[str, Any]", body).get("error") if isinstance(body, dict) else None
    said = cast("dict[str, Any]", inner).get("message") if isinstance(inner, dict) else None
    return f"{error.status_code} {said or error.message}"


def _fields(call: ToolUseBlock) -> dict[str, Any]:
    return dict(call.input)
