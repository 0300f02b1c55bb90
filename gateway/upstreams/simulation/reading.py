"""Reads a scenario from YAML, and a directive from a prompt: every problem at once, each with its place. No replying.

A directive drives the simulated model from a prompt. It is a fenced block

    ```simulate
    - reply: [{tool_use: {name: Bash, input: {command: ls}}}]
    - reply: [{text: "Done."}]
    ```

or one line `simulate: {...}`. It holds one turn or a list of turns; the first answers turn 1 of that prompt, the second
turn 2, and so on (so `when` is of no use in it).
"""

import re
import textwrap
from pathlib import Path

import yaml

from gateway.config import Problem
from gateway.upstreams.simulation.document import Document
from gateway.upstreams.simulation.scenario import (
    AT_ONCE,
    Block,
    CutFault,
    ErrorFault,
    Fault,
    Pace,
    Scenario,
    ScenarioInvalid,
    SilenceFault,
    StatusFault,
    Structured,
    Text,
    Thinking,
    ToolUse,
    Turn,
    UsageOverride,
    When,
)

SCENARIO_BYTES_MAX = 1024 * 1024
TIMES_MAX = 1000
PACKAGED = Path(__file__).parent.parent / "scenarios"

_FENCE = re.compile(r"^(?P<indent>[ \t]*)```simulate[ \t]*\n", re.MULTILINE)
_LINE = re.compile(r"^[ \t]*simulate:[ \t]*(?P<body>\S.*)$", re.MULTILINE)


def load_scenario(path: Path) -> Scenario:
    """The scenario in a file; a path without a suffix names one that comes with the package (`demo`).

    Raises `ScenarioInvalid`.
    """
    file = path if path.suffix else PACKAGED / f"{path.name}.yaml"
    try:
        content = file.read_bytes()
        if len(content) > SCENARIO_BYTES_MAX:
            raise ScenarioInvalid((Problem(str(file), f"larger than {SCENARIO_BYTES_MAX} bytes", "split it"),))
        text = content.decode()
    except OSError as error:
        known = ", ".join(sorted(entry.stem for entry in PACKAGED.glob("*.yaml")))
        raise ScenarioInvalid(
            (Problem(str(file), f"cannot be read: {error.strerror}", f"name a file, or one of: {known}"),)
        ) from error
    except UnicodeDecodeError as error:
        raise ScenarioInvalid((Problem(str(file), "is not UTF-8"),)) from error
    return parse_scenario(text, str(file))


def parse_scenario(text: str, source: str) -> Scenario:
    """The scenario in a YAML text; `source` is where problems are said to be. Raises `ScenarioInvalid`."""
    reader = _Reader(source)
    node = reader.compose(text)
    scenario = Scenario()
    if node is not None:
        fields = reader.fields(node, ("pace", "turns"), required=("turns",))
        turns = tuple(map(reader.turn, reader.items(fields.get("turns"))))
        scenario = Scenario(turns, reader.pace(fields["pace"]) if "pace" in fields else Pace())
    reader.raise_problems()
    return scenario


def find_directive(prompt: str) -> tuple[Turn, ...] | None:
    """The turns a prompt prescribes; None when it prescribes none. Raises `ScenarioInvalid`."""
    written = _directive_text(prompt)
    if written is None:
        return None
    reader = _Reader("simulate")
    node = reader.compose(written)
    turns: tuple[Turn, ...] = ()
    if isinstance(node, yaml.SequenceNode):
        turns = tuple(map(reader.turn, reader.items(node)))
    elif node is not None:
        turns = (reader.turn(node),)
    reader.raise_problems()
    return turns


def _directive_text(prompt: str) -> str | None:
    """The first closed fence, else the first `simulate:` line. Linear in the prompt, whatever it holds."""
    opened = _FENCE.search(prompt)
    if opened is not None:
        closed = re.compile(rf"^{opened['indent']}```[ \t]*$", re.MULTILINE).search(prompt, opened.end())
        if closed is not None:
            return textwrap.dedent(prompt[opened.end() : closed.start()])
    line = _LINE.search(prompt)
    return None if line is None else line["body"]


class _Reader(Document):
    """The meaning of the keys of a scenario."""

    def turn(self, node: yaml.Node) -> Turn:
        """One turn with everything in it."""
        fields = self.fields(node, ("when", "reply", "stop_reason", "usage", "pace", "fault"))
        if not fields.keys() & {"reply", "fault"}:
            self.problem(node, "a turn needs `reply` or `fault`")
        return Turn(
            reply=tuple(block for item in self.items(fields.get("reply")) if (block := self.block(item)) is not None),
            when=self.when(fields["when"]) if "when" in fields else When(),
            stop_reason=self.text(fields["stop_reason"]) if "stop_reason" in fields else None,
            usage=self.usage(fields["usage"]) if "usage" in fields else UsageOverride(),
            pace=self.pace(fields["pace"]) if "pace" in fields else None,
            faults=self.faults(fields["fault"]) if "fault" in fields else (),
        )

    def when(self, node: yaml.Node) -> When:
        """The conditions of a turn."""
        fields = self.fields(node, ("prompt", "tool_result", "system", "tool_error", "turn", "model", "tool"))
        return When(
            prompt=self.optional(fields, "prompt", self.pattern),
            tool_result=self.optional(fields, "tool_result", self.pattern),
            system=self.optional(fields, "system", self.pattern),
            tool_error=self.optional(fields, "tool_error", self.flag),
            turn=self.optional(fields, "turn", self.whole),
            model=self.optional(fields, "model", self.text),
            tool=self.optional(fields, "tool", self.text),
        )

    def block(self, node: yaml.Node) -> Block | None:
        """One block of a reply: a mapping with one key that says which kind."""
        fields = self.fields(node, ("text", "thinking", "tool_use", "structured"))
        if len(fields) != 1:
            self.problem(node, "a block is one of text, thinking, tool_use, structured", "begin each with its own `-`")
            return None
        ((kind, value),) = fields.items()
        match kind:
            case "text":
                return Text(self.text(value))
            case "thinking":
                return Thinking(self.text(value))
            case "structured":
                return Structured(self.plain(value))
            case _:
                return self._tool_use(value)

    def faults(self, node: yaml.Node) -> tuple[Fault, ...]:
        """Every fault of a turn."""
        fields = self.fields(node, ("status", "error", "cut", "silence"))
        faults: list[Fault] = []
        if "status" in fields:
            faults.append(self._status_fault(fields["status"]))
        if "error" in fields:
            error = self.fields(fields["error"], ("type", "message", "after_blocks"))
            message = self.optional(error, "message", self.text) or "Simulated error."
            error_type = self.optional(error, "type", self.text) or "overloaded_error"
            faults.append(ErrorFault(error_type, message, self.optional(error, "after_blocks", self.whole) or 0))
        if "cut" in fields:
            cut = self.fields(fields["cut"], ("after_blocks", "after_bytes"))
            if len(cut) != 1:
                self.problem(fields["cut"], "a cut needs one of after_blocks, after_bytes")
            faults.append(
                CutFault(self.optional(cut, "after_blocks", self.whole), self.optional(cut, "after_bytes", self.whole))
            )
        if "silence" in fields:
            silence = self.fields(fields["silence"], ("seconds", "after_blocks"), required=("seconds",))
            seconds = self.optional(silence, "seconds", self.number) or 0.0
            faults.append(SilenceFault(seconds, self.optional(silence, "after_blocks", self.whole) or 0))
        return tuple(faults)

    def usage(self, node: yaml.Node) -> UsageOverride:
        """Token counts to report."""
        names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        fields = self.fields(node, names)
        return UsageOverride(**{name: self.whole(value) for name, value in fields.items()})

    def pace(self, node: yaml.Node) -> Pace:
        """A mapping, or a number of tokens per second (0: at once)."""
        if isinstance(node, yaml.ScalarNode):
            rate = self.number(node)
            return Pace(tokens_per_second=rate) if rate else AT_ONCE
        fields = self.fields(node, ("first_token_seconds", "tokens_per_second"))
        default = Pace()
        first = self.optional(fields, "first_token_seconds", self.number)
        rate = self.optional(fields, "tokens_per_second", self.number)
        return Pace(
            default.first_token_seconds if first is None else first,
            default.tokens_per_second if rate is None else rate,
        )

    def _tool_use(self, node: yaml.Node) -> ToolUse:
        fields = self.fields(node, ("name", "input", "times", "seconds"), required=("name",))
        tool_input = self.mapping(fields["input"]) if "input" in fields else {}
        times = self.optional(fields, "times", self.whole)
        if times is not None and not 1 <= times <= TIMES_MAX:
            self.problem(fields["times"], f"`times` is from 1 to {TIMES_MAX}")
        return ToolUse(
            name=self.optional(fields, "name", self.text) or "",
            input=tool_input,
            times=times or 1,
            seconds=self.optional(fields, "seconds", self.number) or 0.0,
        )

    def _status_fault(self, node: yaml.Node) -> StatusFault:
        fields = self.fields(node, ("code", "type", "message", "headers"), required=("code",))
        code = self.optional(fields, "code", self.whole) or 500
        if not 400 <= code <= 599:
            self.problem(fields.get("code", node), "`code` is an error status from 400 to 599")
        headers = self.mapping(fields["headers"]) if "headers" in fields else {}
        return StatusFault(
            code,
            self.optional(fields, "type", self.text) or "api_error",
            self.optional(fields, "message", self.text) or "Simulated error.",
            tuple((name, str(value)) for name, value in headers.items()),
        )
