"""Call sites and literal options of a script: what `agent()` is asked for by name. How often: `fanout.py`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tree_sitter import Node

from runtime.check.meta import NotLiteral, read_literal
from runtime.check.syntax import Script, node_text, walk

OPTIONS = ("model", "agentType", "isolation")
VALUES_MAX = 64
"""Most distinct values listed for an option."""


@dataclass(frozen=True, slots=True)
class Sites:
    """`options`: distinct literal values by option, in order of appearance."""

    agent_calls: int
    workflow_calls: int
    options: Mapping[str, tuple[str, ...]]


def find_sites(script: Script) -> Sites:
    """Every place outside `meta` that names an option counts, wherever the options object is built."""
    calls = {"agent": 0, "workflow": 0}
    options: dict[str, dict[str, None]] = {name: {} for name in OPTIONS}
    for node in _outside_exports(script.root):
        if node.type == "call_expression":
            callee = node.child_by_field_name("function")
            name = node_text(callee) if callee is not None and callee.type == "identifier" else ""
            if name in calls:
                calls[name] += 1
            continue
        name, value = _named_value(node)
        if name in options and value is not None:
            found = options[name]
            found.update(dict.fromkeys(text for text in _texts(value) if len(found) < VALUES_MAX))
    return Sites(calls["agent"], calls["workflow"], {name: tuple(found) for name, found in options.items()})


def _outside_exports(root: Node) -> Iterator[Node]:
    for child in root.named_children:
        if child.type != "export_statement":
            yield from walk(child)


def _named_value(node: Node) -> tuple[str, Node | None]:
    """`name: value` in an object, or `x.name = value`."""
    if node.type == "pair":
        key = node.child_by_field_name("key")
        return ("" if key is None else node_text(key).strip("[]'\"`"), node.child_by_field_name("value"))
    if node.type == "assignment_expression":
        left = node.child_by_field_name("left")
        member = None if left is None else left.child_by_field_name("property")
        return ("" if member is None else node_text(member), node.child_by_field_name("right"))
    return ("", None)


def _texts(value: Node) -> Iterator[str]:
    """Literal texts a value can take: itself, or the branches of a choice."""
    if value.type in ("string", "template_string"):
        try:
            yield str(read_literal(value))
        except NotLiteral:
            return
        return
    if value.type == "ternary_expression":
        branches = ("consequence", "alternative")
    elif value.type == "binary_expression" and node_text(value.children[1]) in ("||", "??", "&&"):
        branches = ("left", "right")
    else:
        return
    for branch in branches:
        node = value.child_by_field_name(branch)
        if node is not None:
            yield from _texts(node)
