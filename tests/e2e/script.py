"""How a scenario writes its model: a function from a conversation to the blocks of the next message.

The judge's side of the wire only: it reads what reached the upstream, and never the gateway's code.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.upstream import Answer, Received, Responder, json_answer, message, stream_answer

Block = dict[str, Any]
SESSION_HEADER = "x-claude-code-session-id"
AGENT_HEADER = "x-claude-code-agent-id"
PARENT_HEADER = "x-claude-code-parent-agent-id"


@dataclass(frozen=True, slots=True)
class Conversation:
    """One request as the model sees it."""

    received: Received
    body: dict[str, Any]

    @property
    def agent(self) -> str:
        """The agent's id as the client states it, `main` without one."""
        return self.received.header(AGENT_HEADER) or "main"

    @property
    def turn(self) -> int:
        """Messages the model has written so far."""
        return sum(entry["role"] == "assistant" for entry in self.body["messages"])

    @property
    def results(self) -> dict[str, Block]:
        """Every tool result of the history by its call's id."""
        return {block["tool_use_id"]: block for block in self.blocks() if block["type"] == "tool_result"}

    @property
    def calls(self) -> dict[str, Block]:
        """Every tool call of the history by its id."""
        return {block["id"]: block for block in self.blocks() if block["type"] == "tool_use"}

    def blocks(self) -> list[Block]:
        """The blocks of all messages, a plain string counting as one text block."""
        found: list[Block] = []
        for entry in self.body["messages"]:
            content = entry["content"]
            found += [{"type": "text", "text": content}] if isinstance(content, str) else content
        return found

    def says(self, marker: str) -> bool:
        """Whether the first user message carries `marker`: it is how a script knows whom it speaks for."""
        return marker in json.dumps(self.body["messages"][0])

    def heard(self, marker: str) -> bool:
        """Whether `marker` is anywhere in the messages."""
        return marker in json.dumps(self.body["messages"], ensure_ascii=False)

    def has_tool(self, name: str) -> bool:
        return any(tool.get("name") == name for tool in self.body.get("tools", ()))


Script = Callable[[Conversation], Sequence[Block] | Answer]


def read_conversation(received: Received) -> Conversation:
    return Conversation(received, received.json())


def message_id(conversation: Conversation) -> str:
    """Of the next message. A fresh one each time: the client folds messages of one id into one."""
    return f"msg_{conversation.agent}_{conversation.turn}"


def play(script: Script) -> Responder:
    """The upstream's answers: blocks become a stream, or a message when the request asks for no stream."""

    def respond(received: Received) -> Answer:
        if received.method != "POST":
            return Answer(200, (("content-type", "application/json"),), [b"{}"])
        conversation = read_conversation(received)
        answer = script(conversation)
        if isinstance(answer, Answer):
            return answer
        facts = {"model": conversation.body["model"], "message_id": message_id(conversation)}
        if conversation.body.get("stream"):
            return stream_answer(answer, **facts)
        return json_answer(message(answer, **facts))

    return respond


def raw_messages(body: bytes) -> list[str]:
    """The text of each message exactly as it stands in `body`."""
    text = body.decode()
    decoder = json.JSONDecoder()
    place = text.index('"messages":[') + len('"messages":[')
    found: list[str] = []
    while text[place] != "]":
        _, end = decoder.raw_decode(text, place)
        found.append(text[place:end])
        place = end + (text[end] == ",")
    return found
