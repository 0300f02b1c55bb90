"""What a scenario is: turns with a condition each, and what to reply. The first turn that fits answers.

Not how it is read: `reading.py`.

    pace: {first_token_seconds: 0.2, tokens_per_second: 200}     # or 0: everything at once
    turns:
      - when: {prompt: "fix (?P<file>\\S+)", turn: 1}            # every condition must hold; none: always fits
        reply:
          - thinking: "The file first."
          - text: "Reading {{file}}."
          - tool_use: {name: Read, input: {file_path: "{{workspace}}/{{file}}"}}
        stop_reason: tool_use                                    # default: what the blocks call for
        usage: {output_tokens: 15000}                            # default: counted
        fault: {cut: {after_blocks: 1}}

Conditions: `prompt`, `tool_result`, `system` (regular expressions, searched), `tool_error` (flag), `turn` (1 is the
first reply to the latest prompt), `model` (glob), `tool` (name of an offered tool).
Blocks: `text`, `thinking` (only where the request enables it), `tool_use` (`name`, `input`; `times: n` repeats it with
`{{n}}` counting from 1; `seconds` keeps the block open so long), `structured` (a call of the StructuredOutput tool;
`{}` makes an object that fits its schema).
Faults: `status` (code, type, message, headers), `error` (type, message, after_blocks), `cut` (after_blocks or
after_bytes), `silence` (seconds, after_blocks).
Placeholders: `{{prompt}}`, `{{workspace}}`, `{{turn}}`, `{{tool_result}}`, `{{n}}`, and named groups of the conditions.
"""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config import Problem
from gateway.upstreams.simulation.conversation import Conversation


class ScenarioInvalid(Exception):
    """A scenario that cannot be used: every problem of it at once."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a reply comes. `tokens_per_second` 0: without any pause."""

    first_token_seconds: float = 0.2
    tokens_per_second: float = 200.0


AT_ONCE = Pace(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    thinking: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    """`times` calls of a tool in a row; each block stays open for `seconds`."""

    name: str
    input: Any
    times: int = 1
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Structured:
    """A call of the StructuredOutput tool; an empty value stands for one made from the tool's schema."""

    value: Any = None


Block = Text | Thinking | ToolUse | Structured


@dataclass(frozen=True, slots=True)
class StatusFault:
    """Answer with an HTTP error instead of a message."""

    code: int
    type: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorFault:
    """An error event within the stream."""

    type: str
    message: str
    after_blocks: int = 0


@dataclass(frozen=True, slots=True)
class CutFault:
    """The connection breaks off."""

    after_blocks: int | None = None
    after_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SilenceFault:
    """Nothing comes, not even a ping."""

    seconds: float
    after_blocks: int = 0


Fault = StatusFault | ErrorFault | CutFault | SilenceFault


@dataclass(frozen=True, slots=True)
class UsageOverride:
    """Token counts to report instead of counted ones."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class When:
    """Conditions on a conversation; None: does not matter."""

    prompt: re.Pattern[str] | None = None
    tool_result: re.Pattern[str] | None = None
    system: re.Pattern[str] | None = None
    tool_error: bool | None = None
    turn: int | None = None
    model: str | None = None
    tool: str | None = None

    def match(self, conversation: Conversation) -> dict[str, str] | None:
        """Named groups of the expressions when every condition holds, else None."""
        if (
            (self.tool_error is not None and conversation.tool_error is not self.tool_error)
            or (self.turn is not None and conversation.turn != self.turn)
            or (self.model is not None and not fnmatch.fnmatchcase(conversation.model, self.model))
            or (self.tool is not None and self.tool not in conversation.tools)
        ):
            return None
        groups: dict[str, str] = {}
        searches = (
            (self.prompt, conversation.prompt),
            (self.tool_result, conversation.tool_result),
            (self.system, conversation.system),
        )
        for pattern, text in searches:
            if pattern is None:
                continue
            found = pattern.search(text)
            if found is None:
                return None
            groups.update({name: value or "" for name, value in found.groupdict().items()})
        return groups


@dataclass(frozen=True, slots=True)
class Turn:
    """One scripted reply."""

    reply: tuple[Block, ...] = ()
    when: When = When()
    stop_reason: str | None = None
    usage: UsageOverride = UsageOverride()
    pace: Pace | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """Turns in order. Where none fits, the simulated model answers by itself."""

    turns: tuple[Turn, ...] = ()
    pace: Pace = Pace()

    def select_turn(self, conversation: Conversation) -> tuple[Turn, Mapping[str, str]] | None:
        """The first turn that fits and the named groups of its conditions."""
        for turn in self.turns:
            groups = turn.when.match(conversation)
            if groups is not None:
                return turn, groups
        return None
