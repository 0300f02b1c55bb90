"""From a conversation and a turn to a whole message: blocks, usage, stop reason. How it is written: `writing.py`."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from gateway.core.wire.usage import Tokens
from gateway.upstreams.simulation.conversation import STRUCTURED_OUTPUT, Conversation
from gateway.upstreams.simulation.sample import sample
from gateway.upstreams.simulation.scenario import (
    Block,
    Fault,
    Pace,
    Scenario,
    Structured,
    Text,
    Thinking,
    ToolUse,
    Turn,
    UsageOverride,
)
from gateway.upstreams.simulation.values import Json, as_list, as_object

BYTES_PER_TOKEN = 4
ECHO_CHARS_MAX = 400

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class ReplyBlock:
    """One content block as the API has it, the tokens it is worth and how long it stays open at least."""

    content: Json
    tokens: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole message and how it is to be delivered."""

    message_id: str
    model: str
    blocks: tuple[ReplyBlock, ...]
    stop_reason: str
    tokens: Tokens
    thinking_tokens: int
    pace: Pace
    faults: tuple[Fault, ...]
    thinking_omitted: bool


@dataclass(frozen=True, slots=True)
class Selected:
    """The turn that answers, the named groups of its conditions, and the pace of its scenario."""

    turn: Turn
    groups: Mapping[str, str]
    pace: Pace


def select_turn(scenario: Scenario, directive: Sequence[Turn] | None, conversation: Conversation) -> Selected:
    """What answers: the prompt's own directive, else the scenario, else what the request by itself asks for."""
    if directive is not None and conversation.turn <= len(directive):
        return Selected(directive[conversation.turn - 1], {}, scenario.pace)
    if directive is None and (found := scenario.select_turn(conversation)) is not None:
        return Selected(*found, scenario.pace)
    return Selected(Turn(reply=tuple(_unscripted(conversation))), {}, scenario.pace)


def compose_reply(selected: Selected, conversation: Conversation, *, counted: Tokens, seed: bytes) -> Reply:
    """The message for a turn. `counted` are the input tokens of the request; `seed` makes the ids."""
    turn = selected.turn
    writer = _Writer(conversation, selected.groups, hashlib.blake2b(seed, digest_size=12).hexdigest())
    blocks = [block for scripted in turn.reply for block in writer.write(scripted)]
    kept, cut_short = _fit(blocks, conversation.max_tokens)
    output = sum(block.tokens for block in kept)
    if turn.usage.output_tokens is not None:
        output = min(turn.usage.output_tokens, conversation.max_tokens)
        cut_short = cut_short or turn.usage.output_tokens > conversation.max_tokens
    calls_tool = any(block.content["type"] == "tool_use" for block in kept)
    stop_reason = turn.stop_reason or ("tool_use" if calls_tool else "end_turn")
    return Reply(
        message_id=f"msg_sim_{writer.digest}",
        model=conversation.model,
        blocks=tuple(kept),
        stop_reason="max_tokens" if cut_short else stop_reason,
        tokens=replace_counts(counted, turn.usage, output),
        thinking_tokens=sum(block.tokens for block in kept if block.content["type"] == "thinking"),
        pace=turn.pace or selected.pace,
        faults=turn.faults,
        thinking_omitted=conversation.thinking == "omitted",
    )


def replace_counts(counted: Tokens, usage: UsageOverride, output: int) -> Tokens:
    """Counted tokens with what the scenario says instead."""
    written = usage.cache_creation_input_tokens
    return Tokens(
        input=counted.input if usage.input_tokens is None else usage.input_tokens,
        output=output,
        cache_read=counted.cache_read if usage.cache_read_input_tokens is None else usage.cache_read_input_tokens,
        cache_write_5m=counted.cache_write_5m if written is None else written,
        cache_write_1h=counted.cache_write_1h if written is None else 0,
    )


def _unscripted(conversation: Conversation) -> Iterator[Block]:
    """A sensible answer where nothing is scripted."""
    if STRUCTURED_OUTPUT in conversation.tools and STRUCTURED_OUTPUT not in conversation.answered_tools:
        yield Structured()
    elif conversation.forced_tool is not None:
        schema = conversation.tools[conversation.forced_tool].get("input_schema")
        yield ToolUse(conversation.forced_tool, sample(schema))
    elif conversation.output_schema is not None:
        yield Text(json.dumps(sample(conversation.output_schema), ensure_ascii=False))
    elif conversation.tool_result:
        outcome = "failed" if conversation.tool_error else "worked"
        yield Text(f"The call {outcome}. It said: {conversation.tool_result[:ECHO_CHARS_MAX]}")
    else:
        yield Thinking("Nothing is scripted for this prompt, so it is repeated.")
        yield Text(f"Simulated answer to: {conversation.prompt[:ECHO_CHARS_MAX]}")


def _fit(blocks: list[ReplyBlock], max_tokens: int) -> tuple[list[ReplyBlock], bool]:
    """As much of the blocks as `max_tokens` allows, and whether something was left out."""
    left = max_tokens
    kept: list[ReplyBlock] = []
    for block in blocks:
        if block.tokens <= left:
            kept.append(block)
            left -= block.tokens
            continue
        if block.content["type"] == "text" and left > 0:
            text = block.content["text"].encode(errors="replace")[: left * BYTES_PER_TOKEN].decode(errors="ignore")
            kept.append(replace(block, content={"type": "text", "text": text}, tokens=left))
        return kept, True
    return kept, max_tokens == 0


class _Writer:
    """Fills in placeholders and turns scripted blocks into content blocks."""

    def __init__(self, conversation: Conversation, groups: Mapping[str, str], digest: str) -> None:
        self.digest = digest
        self._conversation = conversation
        self._calls = 0
        self._values = {
            "prompt": conversation.prompt,
            "turn": str(conversation.turn),
            "tool_result": conversation.tool_result,
            **groups,
        }

    def write(self, block: Block) -> Iterator[ReplyBlock]:
        """The content blocks of one scripted block: none, one, or as many as it is repeated."""
        match block:
            case Text():
                text = self._fill(block.text, 1)
                yield ReplyBlock({"type": "text", "text": text}, _tokens(text))
            case Thinking():
                if self._conversation.thinking is not None:
                    thinking = self._fill(block.thinking, 1)
                    signature = hashlib.sha256(thinking.encode(errors="replace")).hexdigest()
                    content = {"type": "thinking", "thinking": thinking, "signature": signature}
                    yield ReplyBlock(content, _tokens(thinking))
            case ToolUse():
                for number in range(1, block.times + 1):
                    yield self._call(self._fill(block.name, number), self._fill(block.input, number), block.seconds)
            case Structured():
                schema = self._conversation.tools.get(STRUCTURED_OUTPUT, {}).get("input_schema")
                value = self._fill(block.value, 1) if block.value else sample(schema)
                yield self._call(STRUCTURED_OUTPUT, value, 0.0)
            case _:
                assert_never(block)

    def _call(self, name: str, tool_input: Any, seconds: float) -> ReplyBlock:
        tool_use_id = f"toolu_{self.digest}{self._calls:02}"
        self._calls += 1
        content = {"type": "tool_use", "id": tool_use_id, "name": name, "input": tool_input}
        return ReplyBlock(content, _tokens(name + json.dumps(tool_input, ensure_ascii=False)), seconds)

    def _fill(self, value: Any, number: int) -> Any:
        match value:
            case str():
                return _PLACEHOLDER.sub(lambda found: self._lookup(found, number), value)
            case list():
                return [self._fill(item, number) for item in as_list(value)]
            case dict():
                return {key: self._fill(item, number) for key, item in as_object(value).items()}
            case _:
                return value

    def _lookup(self, found: re.Match[str], number: int) -> str:
        name = found[1]
        if name == "n":
            return str(number)
        if name == "workspace":
            return self._conversation.workspace
        return self._values.get(name, found[0])


def _tokens(text: str) -> int:
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)
