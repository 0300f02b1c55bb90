"""A YAML text as a tree whose every value knows its place, read strictly, every problem kept. Not what a key means."""

import difflib
import math
import re
from collections.abc import Callable, Collection
from typing import Any, TypeVar, cast

import yaml

from gateway.config import Problem
from gateway.upstreams.simulation.scenario import ScenarioInvalid

NUMBER_MAX = 10**9

_T = TypeVar("_T")


class _Loader(yaml.SafeLoader):
    """No anchors, so that the tree is as large as the text, and no dates, which JSON does not have."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = cast(yaml.Event, self.peek_event())  # pyright: ignore[reportUnknownMemberType]
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not used here", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class Document:
    """One text being read: values out, problems kept. A value that is wrong is replaced by a harmless one."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []

    def raise_problems(self) -> None:
        """Raises `ScenarioInvalid` when anything was wrong so far."""
        if self.problems:
            raise ScenarioInvalid(tuple(self.problems))

    def compose(self, text: str) -> yaml.Node | None:
        """The tree of the text; None when it has none."""
        try:
            node = cast("yaml.Node | None", yaml.compose(text, Loader=_Loader))  # pyright: ignore[reportUnknownMemberType]
        except yaml.MarkedYAMLError as error:
            self._note(error.problem_mark, f"not YAML: {error.problem}")
            return None
        except (yaml.YAMLError, RecursionError) as error:
            self._note(None, f"not YAML: {str(error).splitlines()[0]}")
            return None
        if node is None:
            self._note(None, "is empty", "write at least `turns: []`")
        return node

    def fields(self, node: yaml.Node, allowed: Collection[str], required: Collection[str] = ()) -> dict[str, yaml.Node]:
        """The keys of a mapping; unknown, repeated and missing ones are problems."""
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, "must be a mapping", f"with any of: {', '.join(allowed)}")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in _pairs(node):
            name = str(key.value)
            if name not in allowed:
                close = difflib.get_close_matches(name, allowed, n=1)
                hint = f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(allowed)}"
                self.problem(key, f"unknown key `{name}`", hint)
            elif name in found:
                self.problem(key, f"`{name}` is given twice")
            else:
                found[name] = value
        for name in required:
            if name not in found:
                self.problem(node, f"`{name}` is missing")
        return found

    def items(self, node: yaml.Node | None) -> list[yaml.Node]:
        """The items of a list; none when it is not given."""
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.problem(node, "must be a list", "begin each item with `-`")
            return []
        return cast(list[yaml.Node], node.value)

    def text(self, node: yaml.Node) -> str:
        """A text; numbers and flags count as what is written."""
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        self.problem(node, "must be a text")
        return ""

    def number(self, node: yaml.Node) -> float:
        """A number of at least 0."""
        value = self.plain(node)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= NUMBER_MAX:
            return float(value)
        self.problem(node, f"must be a number from 0 to {NUMBER_MAX}")
        return 0.0

    def whole(self, node: yaml.Node) -> int:
        """A whole number of at least 0."""
        value = self.plain(node)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= NUMBER_MAX:
            return value
        self.problem(node, f"must be a whole number from 0 to {NUMBER_MAX}")
        return 0

    def flag(self, node: yaml.Node) -> bool:
        """true or false."""
        value = self.plain(node)
        if not isinstance(value, bool):
            self.problem(node, "must be true or false")
        return value is True

    def pattern(self, node: yaml.Node) -> re.Pattern[str]:
        """A regular expression; `.` also stands for line ends."""
        try:
            return re.compile(self.text(node), re.DOTALL)
        except (re.error, RecursionError, OverflowError) as error:
            self.problem(node, f"not a regular expression: {error}")
            return re.compile("")

    def mapping(self, node: yaml.Node) -> dict[str, Any]:
        """Any JSON object."""
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, "must be a mapping")
            return {}
        return {str(key.value): self.plain(value) for key, value in _pairs(node)}

    def plain(self, node: yaml.Node) -> Any:
        """Any JSON value."""
        match node:
            case yaml.MappingNode():
                return self.mapping(node)
            case yaml.SequenceNode():
                return [self.plain(item) for item in cast(list[yaml.Node], node.value)]
            case _:
                return self._scalar(node)

    def problem(self, node: yaml.Node, message: str, suggestion: str = "") -> None:
        """Keep a problem with the place of `node`."""
        self._note(node.start_mark, message, suggestion)

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            value = cast(Any, _Loader("").construct_object(node))  # pyright: ignore[reportUnknownMemberType]
        except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:  # what PyYAML lets through
            self.problem(node, f"cannot be read as a value: {str(error).splitlines()[0]}")
            return None
        if value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
            return value
        self.problem(node, "is not a JSON value")
        return None

    def optional(self, fields: dict[str, yaml.Node], name: str, read: Callable[[yaml.Node], _T]) -> _T | None:
        """What `read` makes of a key, when the key is there."""
        return read(fields[name]) if name in fields else None

    def _note(self, mark: yaml.Mark | None, message: str, suggestion: str = "") -> None:
        place = self.source if mark is None else f"{self.source}:{mark.line + 1}:{mark.column + 1}"
        self.problems.append(Problem(place, message, suggestion))


def _pairs(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    return cast(list[tuple[yaml.Node, yaml.Node]], node.value)
