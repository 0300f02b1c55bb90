"""Reads a scenario from YAML, and a directive from a prompt: every problem at once, each with its place. No replying.

A directive drives the simulated model from a prompt. It is a fenced block

    ```simulate
    - reply: [{tool_use: {name: Bash, input: {command: ls}}}]
    - reply: [{text: "Done."}]
    ```

or one line `simulate: {...}`. It holds one turn or a list of turns; the first answers turn 1 of that prompt, the second
turn 2, and so on (so `when` is of no use in it).
"""

import difflib
import math
import re
import textwrap
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gateway.config import Problem
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
NUMBER_MAX = 10**9
PACKAGED = Path(__file__).parent.parent / "scenarios"

_FENCE = re.compile(r"^(?P<indent>[ \t]*)```simulate[ \t]*\n(?P<body>.*?)^(?P=indent)```[ \t]*$", re.MULTILINE | re.DOTALL)
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
    reading = _Reading(source)
    node = reading.compose(text)
    scenario = Scenario()
    if node is not None:
        fields = reading.fields(node, ("pace", "turns"), required=("turns",))
        turns = tuple(map(reading.turn, reading.items(fields.get("turns"))))
        scenario = Scenario(turns, reading.pace(fields["pace"]) if "pace" in fields else Pace())
    return reading.checked(scenario)


def find_directive(prompt: str) -> tuple[Turn, ...] | None:
    """The turns a prompt prescribes; None when it prescribes none. Raises `ScenarioInvalid`."""
    found = _FENCE.search(prompt) or _LINE.search(prompt)
    if found is None:
        return None
    reading = _Reading("simulate")
    node = reading.compose(textwrap.dedent(found["body"]))
    turns: tuple[Turn, ...] = ()
    if isinstance(node, yaml.SequenceNode):
        turns = tuple(map(reading.turn, reading.items(node)))
    elif node is not None:
        turns = (reading.turn(node),)
    return reading.checked(turns)


class _Loader(yaml.SafeLoader):
    """No anchors, so that the tree is as large as the text, and no dates, which JSON does not have."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not used here", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)


@dataclass(slots=True)
class _Reading:
    """One text being read: values out, problems kept."""

    source: str
    problems: list[Problem] = field(default_factory=list[Problem])

    def checked[T](self, value: T) -> T:
        """The value, unless something was wrong on the way to it."""
        if self.problems:
            raise ScenarioInvalid(tuple(self.problems))
        return value
